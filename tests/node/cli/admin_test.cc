// godwit node, dc, ls, ps against a real agent.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "node/cli/cli_process.h"

namespace godwit::node::cli::test {
namespace {

class CliAdmin : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(node_.ready()); }
  CliNode node_;
};

TEST_F(CliAdmin, NodeLs) {
  const Said said = node_.godwit({"node", "ls", "--json"});
  ASSERT_EQ(said.status, 0) << said.errors;
  const auto nodes = said.json()["nodes"];
  ASSERT_EQ(nodes.size(), 1U);
  EXPECT_EQ(nodes[0]["name"], "alpha");
  EXPECT_EQ(nodes[0]["alive"], true);
  EXPECT_EQ(nodes[0]["self"], true);
  EXPECT_EQ(nodes[0]["pid"], node_.agent().pid());
  const Said table = node_.godwit({"node", "ls"});
  EXPECT_EQ(table.status, 0);
  EXPECT_TRUE(table.output.starts_with("NODE ")) << table.output;
  EXPECT_NE(table.output.find("\nalpha (this)  alive"), std::string::npos) << table.output;
}

TEST_F(CliAdmin, DcLife) {
  const Said made = node_.godwit({"dc", "create", "web", "--nodes", "alpha,beta", "--max-endpoints",
                                  "7", "--max-message", "64k", "--json"});
  ASSERT_EQ(made.status, 0) << made.errors;
  EXPECT_EQ(made.json()["dc"]["name"], "web");
  EXPECT_EQ(made.json()["dc"]["nodes"], nlohmann::json({"alpha", "beta"}));

  const Said again = node_.godwit({"dc", "create", "web"});
  EXPECT_EQ(again.status, 1);
  EXPECT_TRUE(again.errors.starts_with("godwit: name_taken: ")) << again.errors;

  const auto dcs = node_.godwit({"dc", "ls", "--json"}).json()["dcs"];
  ASSERT_EQ(dcs.size(), 2U);
  EXPECT_EQ(dcs[0]["name"], "demo");
  EXPECT_EQ(dcs[1]["max_endpoints"], 7);
  EXPECT_EQ(dcs[1]["max_message_bytes"], 65536);
  EXPECT_EQ(dcs[1]["key_here"], true);
  const Said table = node_.godwit({"dc", "ls"});
  EXPECT_NE(table.output.find("alpha,beta"), std::string::npos) << table.output;
  EXPECT_NE(table.output.find("64.0 KiB"), std::string::npos) << table.output;

  EXPECT_EQ(node_.godwit({"dc", "rm", "web"}).output, "removed web\n");
  const Said gone = node_.godwit({"dc", "rm", "web"});
  EXPECT_EQ(gone.status, 1);
  EXPECT_TRUE(gone.errors.starts_with("godwit: not_found: ")) << gone.errors;
}

TEST_F(CliAdmin, ADcInUseIsNotRemoved) {
  const auto echo = node_.bound({"echo", "demo/echo"});
  const Said said = node_.godwit({"dc", "rm", "demo"});
  EXPECT_EQ(said.status, 1) << said.output;
  EXPECT_EQ(node_.godwit({"call", "demo/echo", "still here"}).output, "still here");
}

TEST_F(CliAdmin, KeysGoFromNodeToNode) {
  const Said shown = node_.godwit({"dc", "key", "export", "demo"});
  ASSERT_EQ(shown.status, 0) << shown.errors;
  EXPECT_EQ(shown.output.size(), 65U);
  EXPECT_EQ(node_.godwit({"dc", "key", "export", "demo", "--json"}).json()["key"],
            shown.output.substr(0, 64));

  const std::string file = node_.folder() + "/demo.key";
  std::ofstream(file) << "an older file that others can read";
  ASSERT_EQ(::chmod(file.c_str(), 0644), 0);
  EXPECT_EQ(node_.godwit({"dc", "key", "export", "demo", "--file", file}).status, 0);
  struct stat status {};
  ASSERT_EQ(::stat(file.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U);

  // The key that this node has already is welcome, another is not.
  const Said same = node_.godwit({"dc", "key", "import", "demo", "--file", file, "--json"});
  EXPECT_EQ(same.status, 0) << same.errors;
  EXPECT_EQ(same.json()["dc"]["key_here"], true);
  EXPECT_EQ(node_.godwit({"dc", "key", "import", "demo"}, shown.output).status, 0);
  const Said other = node_.godwit({"dc", "key", "import", "demo"}, std::string(64, '0') + "\n");
  EXPECT_EQ(other.status, 1);
  EXPECT_TRUE(other.errors.starts_with("godwit: wrong_key: ")) << other.errors;
  EXPECT_NE(node_.godwit({"dc", "key", "import", "demo"}, "no key").status, 0);
  const Said unknown = node_.godwit({"dc", "key", "export", "nosuch"});
  EXPECT_EQ(unknown.status, 1);
  EXPECT_TRUE(unknown.errors.starts_with("godwit: not_found: ")) << unknown.errors;
  const Said no_file = node_.godwit({"dc", "key", "import", "demo", "--file", file + "x"});
  EXPECT_EQ(no_file.status, 1);
  EXPECT_NE(no_file.errors.find("cannot open"), std::string::npos) << no_file.errors;
}

TEST_F(CliAdmin, LsShowsPlaceStateAndTransports) {
  EXPECT_EQ(node_.godwit({"ls", "--json"}).json()["endpoints"].size(), 0U);
  const auto echo = node_.bound({"echo", "demo/web/fs"});
  ASSERT_EQ(node_.godwit({"call", "demo/web/fs", "x"}).status, 0);

  const auto listed = node_.godwit({"ls", "--json"}).json()["endpoints"];
  ASSERT_EQ(listed.size(), 1U) << listed;
  const auto& endpoint = listed[0];
  EXPECT_EQ(endpoint["name"], "demo/web/fs");
  EXPECT_EQ(endpoint["node"], "alpha");
  EXPECT_EQ(endpoint["state"], "serving");
  EXPECT_EQ(endpoint["pid"], echo->pid());
  EXPECT_NE(echo->errors().find(endpoint["id"].get<std::string>()), std::string::npos);
  for (const char* transport : {"shm", "tcp"})
    EXPECT_NE(std::find(endpoint["offers"].begin(), endpoint["offers"].end(), transport),
              endpoint["offers"].end())
        << endpoint;
  EXPECT_TRUE(endpoint["in_use"].is_array()) << endpoint;

  EXPECT_EQ(
      node_.godwit({"ls", "demo", "--prefix", "demo/web", "--json"}).json()["endpoints"].size(),
      1U);
  EXPECT_EQ(node_.godwit({"ls", "--prefix", "demo/x", "--json"}).json()["endpoints"].size(), 0U);
  EXPECT_EQ(node_.godwit({"ls", "--node", "beta", "--json"}).json()["endpoints"].size(), 0U);
  const Said table = node_.godwit({"ls"});
  EXPECT_TRUE(table.output.starts_with("NAME ")) << table.output;
  EXPECT_NE(table.output.find("\ndemo/web/fs  "), std::string::npos) << table.output;
  const Said nosuch = node_.godwit({"ls", "nosuch"});
  EXPECT_EQ(nosuch.status, 1);
  EXPECT_TRUE(nosuch.errors.starts_with("godwit: not_found: nosuch: ")) << nosuch.errors;

  // A connection that is used shows by its transport.
  const auto holder =
      node_.start({"ping", "demo/web/fs", "--interval", "20ms", "--transport", "tcp"});
  ASSERT_TRUE(holder->wait_for_output("seq=2"));
  EXPECT_NE(node_.godwit({"ls", "--json", "--prefix", "demo/web/fs"})
                .json()["endpoints"][0]["in_use"]
                .dump()
                .find("tcp"),
            std::string::npos);
}

TEST_F(CliAdmin, PsShowsAttachedProcesses) {
  const auto echo = node_.bound({"echo", "demo/echo"});
  const Said said = node_.godwit({"ps", "--json"});
  ASSERT_EQ(said.status, 0) << said.errors;
  const auto processes = said.json()["processes"];
  ASSERT_EQ(processes.size(), 1U);
  EXPECT_EQ(processes[0]["pid"], echo->pid());
  EXPECT_EQ(processes[0]["program"], "godwit echo");
  EXPECT_EQ(processes[0]["endpoints"], 1);
  EXPECT_EQ(processes[0]["connected"], true);
  EXPECT_EQ(processes[0]["engines"], 1);
  const Said table = node_.godwit({"ps"});
  EXPECT_NE(table.output.find("godwit echo"), std::string::npos) << table.output;
}

}  // namespace
}  // namespace godwit::node::cli::test
