# SPDX-License-Identifier: GPL-2.0-or-later
# What Python programs do: dictionaries, strings, objects, integers without limit, JSON. The argument is the number of rounds.
import json
import sys


class Node:
    def __init__(self, key):
        self.key, self.left, self.right = key, None, None

    def add(self, key):
        side = "left" if key < self.key else "right"
        child = getattr(self, side)
        if child is None:
            setattr(self, side, Node(key))
        else:
            child.add(key)

    def walk(self, depth=0):
        if self.left:
            yield from self.left.walk(depth + 1)
        yield self.key, depth
        if self.right:
            yield from self.right.walk(depth + 1)


def round_of(seed):
    x, words, root, total = seed * 2654435761 % 2**32 | 1, {}, Node(2**31), 0
    for _ in range(800):
        x = (x * 1664525 + 1013904223) % 2**32
        word = "w%x" % (x >> 22)
        words[word] = words.get(word, 0) + 1
        root.add(x)
    for key, depth in root.walk():
        total = (total * 31 + key * depth) % (2**61 - 1)
    text = json.dumps({w: [n, w.upper(), n / 7] for w, n in sorted(words.items())})
    back = json.loads(text)
    total += sum(v[0] for v in back.values()) + len(text) + sum(map(ord, "".join(back)[:200]))
    return total + pow(3, x, 2**521 - 1) % 1000003


result = 0
for r in range(int(sys.argv[1])):
    result = (result * 1000003 + round_of(r)) % (2**64)
print(result)
