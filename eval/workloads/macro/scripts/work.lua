-- SPDX-License-Identifier: GPL-2.0-or-later
-- What Lua programs do: tables, closures, strings, doubles. The argument is the number of rounds.
local function counter(start)
	local n = start
	return function(step)
		n = n + step
		return n
	end
end

local sum, x = 0.0, 12345
for round = 1, tonumber(arg[1]) do
	local list, index, add = {}, {}, counter(round)
	for i = 1, 6000 do
		x = (x * 1103515245 + 12345) % 2147483648
		list[i] = x % 100003
		index[list[i]] = (index[list[i]] or 0) + i
	end
	table.sort(list)
	for i = 1, #list, 3 do
		sum = sum + list[i] / (1 + add(i) % 97)
	end
	local parts = {}
	for i = 1, 400 do
		parts[i] = string.format("%d:%s", list[i], string.rep("ab", i % 7))
	end
	local text = table.concat(parts, ",")
	for number, letters in text:gmatch("(%d+):(%a*)") do
		sum = sum + #letters * tonumber(number) % 13
	end
	sum = sum % 1e9
end
print(string.format("%.6f", sum))
