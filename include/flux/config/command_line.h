// Sorts the words of a command line: --section.key options for the configuration, a subcommand's
// own flags, and what stands alone.
//
// An option is written --section.key=value, --section.key value, or, when it is a switch,
// --section.key and --section.no_key; dashes and underscores mean the same everywhere. The word
// after a switch belongs to it only when it reads as true or false.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace flux::config {

/// One --section.key on the command line; load_config() reads the text.
struct Override {
    std::string name;   // "section.key" with underscores, as given (canonical name or alias)
    std::string text;   // the value
    std::string shown;  // as typed, for messages: "--training.steps=5"
};

/// A flag of one subcommand's own, such as --checkpoint DIR. Its target keeps its value when the
/// flag is absent. A bool is a switch without a value; a list takes one value each time.
struct Flag {
    std::string name;        // "checkpoint" for --checkpoint
    std::string value_name;  // "DIR"; empty for a switch
    std::string help;
    std::variant<bool*, int64_t*, std::string*, std::vector<std::string>*> target;
};

struct CommandLine {
    std::vector<Override> overrides;
    std::vector<std::string> words;  // neither options nor their values
    bool help = false;               // --help, -h
    bool print_config = false;       // --print-config
};

/// `words` are those after the subcommand's name. Throws ConfigError on an unknown option or flag
/// (with the nearest name), a missing value, or more than `most_words` words that stand alone.
CommandLine parse_command_line(const std::vector<std::string>& words,
                               const std::vector<Flag>& flags = {}, size_t most_words = 0);

/// One line for each flag, for a subcommand's --help.
std::string flags_help(const std::vector<Flag>& flags);

}  // namespace flux::config
