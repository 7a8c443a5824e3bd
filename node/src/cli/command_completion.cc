// godwit completion
#include <memory>

#include "cli/command.h"

namespace godwit::node::cli {
namespace {

// The words that may follow a command: its commands and its long options.
std::string words(const CLI::App& command) {
  std::string text;
  for (const CLI::App* child : command.get_subcommands([](const CLI::App*) { return true; }))
    text += (text.empty() ? "" : " ") + child->get_name();
  for (const CLI::Option* option : command.get_options())
    for (const std::string& name : option->get_lnames())
      text += (text.empty() ? "--" : " --") + name;
  return text;
}

// One entry for each command, by its path ("godwit dc key").
void entries(const CLI::App& command, const std::string& path, std::string& text) {
  text += "    ['" + path + "']='" + words(command) + "'\n";
  for (const CLI::App* child : command.get_subcommands([](const CLI::App*) { return true; }))
    entries(*child, path + " " + child->get_name(), text);
}

std::string bash_script(const CLI::App& app) {
  std::string known;
  entries(app, "godwit", known);
  return R"(# Completion of godwit for bash. Made by 'godwit completion'.
_godwit() {
  local -A words=(
)" + known +
         R"(  )
  local path=godwit word
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    [[ -v "words[$path $word]" ]] || break
    path+=" $word"
  done
  mapfile -t COMPREPLY < <(compgen -W "${words[$path]}" -- "${COMP_WORDS[COMP_CWORD]}")
}
complete -o default -F _godwit godwit
)";
}

}  // namespace

void add_completion_command(CLI::App& app, Context& context) {
  add_command(app, context,
              {.name = "completion",
               .summary = "Print a completion script for bash",
               .details = "",
               .examples = "  source <(godwit completion)\n"
                           "  godwit completion > "
                           "/usr/share/bash-completion/completions/godwit"},
              [&app]() -> Result<void> {
                print(bash_script(app));
                return {};
              });
}

}  // namespace godwit::node::cli
