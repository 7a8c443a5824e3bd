// godwit dc create|ls|rm|key
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <limits>
#include <memory>
#include <vector>

#include "admin_client.h"
#include "cli/command.h"
#include "cli/payload.h"
#include "cli/units.h"

namespace godwit::node::cli {
namespace {

using endpoints::proto::DcInfo;

Json json_of_dc(const DcInfo& dc) {
  return {{"name", dc.name()},
          {"id", dc.id()},
          {"nodes", std::vector<std::string>(dc.nodes().begin(), dc.nodes().end())},
          {"max_endpoints", dc.max_endpoints()},
          {"max_message_bytes", dc.max_message_bytes()},
          {"key_id", dc.key_id()},
          {"key_here", dc.key_here()},
          {"created_unix_ms", dc.created_unix_ms()}};
}

struct CreateOptions {
  std::string name;
  std::vector<std::string> nodes;
  std::uint64_t max_endpoints = 0;  // 0: no limit
  std::uint64_t max_message = 0;    // 0: the fabric's limit
};

Result<void> create(const Context& context, const CreateOptions& options) {
  auto agent = AdminClient::connect(context.run);
  if (!agent) return tl::make_unexpected(agent.error());
  endpoints::proto::CreateDcRequest request;
  request.set_name(options.name);
  for (const std::string& node : options.nodes) request.add_nodes(node);
  request.set_max_endpoints(static_cast<std::uint32_t>(options.max_endpoints));
  request.set_max_message_bytes(options.max_message);
  const auto dc = agent->create_dc(request);
  if (!dc) return tl::make_unexpected(dc.error());
  if (context.json) {
    print_json({{"dc", json_of_dc(*dc)}});
  } else {
    print("created " + printable(dc->name()) + ", id " + std::to_string(dc->id()) + "\n");
  }
  return {};
}

Result<void> list(const Context& context) {
  auto agent = AdminClient::connect(context.run);
  if (!agent) return tl::make_unexpected(agent.error());
  const auto dcs = agent->list_dcs();
  if (!dcs) return tl::make_unexpected(dcs.error());
  if (context.json) {
    Json document = Json::array();
    for (const DcInfo& dc : *dcs) document.push_back(json_of_dc(dc));
    print_json({{"dcs", document}});
    return {};
  }
  using Align = Table::Align;
  Table table({{"DC"},
               {"ID", Align::right},
               {"NODES"},
               {"ENDPOINTS AT MOST", Align::right},
               {"MESSAGE AT MOST", Align::right},
               {"KEY"}});
  for (const DcInfo& dc : *dcs) {
    std::string nodes;
    for (const std::string& node : dc.nodes()) nodes += (nodes.empty() ? "" : ",") + node;
    table.add({dc.name(), std::to_string(dc.id()), nodes.empty() ? "all" : nodes,
               dc.max_endpoints() == 0 ? "-" : std::to_string(dc.max_endpoints()),
               dc.max_message_bytes() == 0
                   ? "-"
                   : human_bytes(static_cast<double>(dc.max_message_bytes())),
               dc.key_here() ? "here" : "not here"});
  }
  print(table.text());
  return {};
}

Result<void> remove(const Context& context, const std::string& name) {
  auto agent = AdminClient::connect(context.run);
  if (!agent) return tl::make_unexpected(agent.error());
  if (auto removed = agent->remove_dc(name); !removed) return tl::make_unexpected(removed.error());
  if (context.json) {
    print_json({{"removed", name}});
  } else {
    print("removed " + printable(name) + "\n");
  }
  return {};
}

// Only its owner may read it, also when the file existed.
Result<void> write_secret(const std::string& file, std::string_view secret) {
  const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return fail_errno("cannot create " + file);
  const std::string line = std::string(secret) + "\n";
  const bool whole = ::fchmod(fd, 0600) == 0 &&
                     ::write(fd, line.data(), line.size()) == static_cast<ssize_t>(line.size());
  if (!whole) {
    auto error = fail_errno("cannot write " + file);
    ::close(fd);
    return error;
  }
  // Some file systems report a full disk only here.
  if (::close(fd) != 0) return fail_errno("cannot write " + file);
  return {};
}

Result<void> export_key(const Context& context, const std::string& dc, const std::string& file) {
  auto agent = AdminClient::connect(context.run);
  if (!agent) return tl::make_unexpected(agent.error());
  const auto key = agent->export_key(dc);
  if (!key) return tl::make_unexpected(key.error());
  if (!file.empty()) {
    if (auto written = write_secret(file, *key); !written) return written;
    if (context.json) print_json({{"dc", dc}, {"file", file}});
    return {};
  }
  if (context.json) {
    print_json({{"dc", dc}, {"key", *key}});
  } else {
    print(*key + "\n");
  }
  return {};
}

Result<void> import_key(const Context& context, const std::string& dc, const std::string& file) {
  // More than a key and its blanks is not a key: no need to read a wrong file to its end.
  auto text =
      file.empty() || file == "-" ? read_stream(0, "standard input", 4096) : read_file(file, 4096);
  if (!text) return tl::make_unexpected(text.error());
  while (!text->empty() && (text->back() == '\n' || text->back() == '\r' || text->back() == ' '))
    text->pop_back();
  auto agent = AdminClient::connect(context.run);
  if (!agent) return tl::make_unexpected(agent.error());
  const auto info = agent->import_key(dc, *text);
  if (!info) return tl::make_unexpected(info.error());
  if (context.json) {
    print_json({{"dc", json_of_dc(*info)}});
  } else {
    print("this node is now a member of " + printable(dc) + "\n");
  }
  return {};
}

void add_key_commands(CLI::App& dc_group, Context& context) {
  CLI::App* group = add_group(dc_group, "key", "The secret that makes a node a member of a DC");
  struct KeyOptions {
    std::string dc;
    std::string file;
  };
  const auto exporting = std::make_shared<KeyOptions>();
  CLI::App* command = add_command(
      *group, context,
      {.name = "export",
       .summary = "Print the key of a DC, to be imported on another node",
       .details = "Whoever has the key can join the DC: treat it as a password.",
       .examples = "  godwit dc key export demo --file demo.key\n"
                   "  godwit dc key export demo | ssh other godwit dc key import demo"},
      [&context, exporting] { return export_key(context, exporting->dc, exporting->file); });
  add_dc_name(command, "dc", exporting->dc, "The DC")->required();
  command->add_option("--file", exporting->file, "Write it to this file, with mode 0600")
      ->type_name("FILE");

  const auto importing = std::make_shared<KeyOptions>();
  command = add_command(
      *group, context,
      {.name = "import",
       .summary = "Make this node a member of a DC by its key",
       .details = "The key comes from standard input, so that it does not show in the list of "
                  "processes, or from a file.",
       .examples = "  godwit dc key import demo < demo.key\n"
                   "  godwit dc key import demo --file demo.key"},
      [&context, importing] { return import_key(context, importing->dc, importing->file); });
  add_dc_name(command, "dc", importing->dc, "The DC")->required();
  command->add_option("--file", importing->file, "Read it from this file")->type_name("FILE");
}

}  // namespace

void add_dc_commands(CLI::App& app, Context& context) {
  CLI::App* group = add_group(app, "dc", "Distributed containers: domains of endpoints");

  const auto creating = std::make_shared<CreateOptions>();
  CLI::App* command = add_command(
      *group, context,
      {.name = "create",
       .summary = "Create a DC and its key",
       .details = "The key stays on this node; 'godwit dc key export' and 'import' bring it to "
                  "others.",
       .examples =
           "  godwit dc create demo\n"
           "  godwit dc create web --nodes alpha,beta --max-endpoints 1000 --max-message 64k"},
      [&context, creating] { return create(context, *creating); });
  add_dc_name(command, "name", creating->name, "1 to 255 bytes without '/' or control characters")
      ->required();
  command->add_option("--nodes", creating->nodes, "Nodes that may have endpoints (default: all)")
      ->delimiter(',')
      ->type_name("A,B");
  add_count(command, "--max-endpoints", creating->max_endpoints,
            "Endpoints at most (default: no limit)", std::numeric_limits<std::uint32_t>::max());
  add_size(command, "--max-message", creating->max_message,
           "Bytes of a message at most (default: the fabric's limit)");

  add_command(*group, context,
              {.name = "ls",
               .summary = "List the DCs",
               .details = "KEY says whether this node has the DC's key and so is a member.",
               .examples = "  godwit dc ls\n  godwit dc ls --json"},
              [&context] { return list(context); });

  const auto removing = std::make_shared<std::string>();
  command = add_command(*group, context,
                        {.name = "rm",
                         .summary = "Remove a DC in which nothing is bound",
                         .details = "",
                         .examples = "  godwit dc rm demo"},
                        [&context, removing] { return remove(context, *removing); });
  add_dc_name(command, "name", *removing, "The DC")->required();

  add_key_commands(*group, context);
}

}  // namespace godwit::node::cli
