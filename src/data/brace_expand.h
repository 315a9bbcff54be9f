// Lists of shards as users write them: a,b,c and shard-{0000..0031}.tar and {x,y}/z.tar.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace flux::data {

/// The items between commas, commas inside braces aside. A pipe: command has all of the rest, with
/// its commas.
std::vector<std::string> split_list(std::string_view list);

/// Every text that an item with braces stands for, the last brace counting fastest: {0008..0011}
/// counts with leading zeros as written, {a,b} lists. Braces of other forms stay as they are.
/// Throws Error for more than a million.
std::vector<std::string> expand_braces(std::string_view item);

}  // namespace flux::data
