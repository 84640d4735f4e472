"""Dicts, strings, threads, subprocesses, pickles, compression."""
import collections
import hashlib
import json
import pickle
import subprocess
import sys
import threading
import zlib

text = open(sys.argv[1], encoding="ascii").read()
lines = text.split("\n")


def count(part):
    words = collections.Counter()
    for line in part:
        for word in line.split():
            words[word] += 1
    return words


def worker(index, results):
    mine = lines[index::4]
    words = count(mine)
    tree = {}
    for word in words:
        node = tree
        for letter in word[:6]:
            node = node.setdefault(letter, {})
    results[index] = (len(words), sum(words.values()), len(json.dumps(tree, sort_keys=True)))


results = [None] * 4
for round in range(3):
    threads = [threading.Thread(target=worker, args=(i, results)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(results)

packed = zlib.compress(text.encode(), 6)
print(len(packed), hashlib.sha256(zlib.decompress(packed)).hexdigest())
state = {i: (str(i), [i] * (i % 9), {"k": i * 0.5}) for i in range(50000)}
print(hashlib.sha256(pickle.dumps(state)).hexdigest(), pickle.loads(pickle.dumps(state)) == state)
for i in range(5):
    child = subprocess.run([sys.executable, "-c", f"print(sum(len(str(i)) for i in range({i}0000)))"],
                           capture_output=True, text=True, check=True)
    print(child.stdout.strip())
many = [threading.Thread(target=lambda: bytearray(100000)) for _ in range(300)]
for thread in many:
    thread.start()
for thread in many:
    thread.join()
grown = b""
for i in range(2000):
    grown += b"%d," % i
print(len(grown), len("".join(reversed(text[:100000]))))
