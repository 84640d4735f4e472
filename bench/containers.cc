/* Question: C++'s containers, which allocate by operator new and free by sized delete.
 *
 * Three kinds, timed one after the other, each `rounds` times: `map`, a std::map from strings to
 * vectors that grows, is looked up and half erased; `strings`, a vector of strings of 8 to 60 bytes
 * that is sorted, uniqued and joined; `shared`, a tree of std::shared_ptr whose branches are replaced
 * at random. Seconds each, and the whole process. The check value is made of what they hold. */
#include "bench.h"

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace {

std::string word_make(uint64_t *seed) {
    std::string word(8 + bench_below(seed, 53), 'a');
    for (size_t i = 0; i < 8; i++) word[i] = char('a' + bench_below(seed, 26));
    return word;
}

uint64_t map_run(uint64_t seed) {
    std::map<std::string, std::vector<int>> words;
    uint64_t check = 0;
    for (int i = 0; i < 30000; i++) {
        std::string word = word_make(&seed);
        word.resize(2 + word.size() % 3 + bench_below(&seed, 2) * 20);
        words[word].push_back(i);
    }
    for (auto it = words.begin(); it != words.end();) {
        check += it->first.size() * it->second.size();
        if (it->second.back() % 2) it = words.erase(it);
        else ++it;
    }
    return check + words.size();
}

uint64_t strings_run(uint64_t seed) {
    std::vector<std::string> lines;
    for (int i = 0; i < 40000; i++) lines.push_back(word_make(&seed));
    for (int i = 0; i < 2000; i++) lines.push_back(lines[bench_below(&seed, lines.size())]);
    std::sort(lines.begin(), lines.end());
    lines.erase(std::unique(lines.begin(), lines.end()), lines.end());
    std::string joined;
    for (const std::string &line : lines) joined += line.substr(0, 20) + "," + line;
    return joined.size() + lines.size();
}

struct branch {
    uint64_t value = 0;
    std::shared_ptr<branch> left, right;
};

std::shared_ptr<branch> branch_make(int depth, uint64_t *seed) {
    auto b = std::make_shared<branch>();
    b->value = bench_below(seed, 1000);
    if (depth > 0) {
        b->left = branch_make(depth - 1, seed);
        b->right = branch_make(depth - 1, seed);
    }
    return b;
}

uint64_t branch_sum(const std::shared_ptr<branch> &b) {
    return b ? b->value + branch_sum(b->left) + branch_sum(b->right) : 0;
}

uint64_t shared_run(uint64_t seed) {
    std::shared_ptr<branch> root = branch_make(12, &seed);
    std::vector<std::shared_ptr<branch>> old;
    for (int i = 0; i < 40000; i++) {
        std::shared_ptr<branch> at = root;
        int depth = 12;
        while (depth > 5 || (depth > 2 && bench_below(&seed, 2))) {
            at = bench_below(&seed, 2) ? at->left : at->right;
            depth--;
        }
        if (i % 4 == 0) old.push_back(at->left);
        at->left = branch_make(depth - 1, &seed);
        if (old.size() > 50) old.erase(old.begin());
    }
    uint64_t check = branch_sum(root);
    for (const auto &b : old) check += branch_sum(b);
    return check;
}

uint64_t timed(const char *name, uint64_t (*run)(uint64_t), long rounds) {
    uint64_t start = bench_now(), check = 0;
    for (long r = 0; r < rounds; r++) check += run(uint64_t(r) + 1);
    bench_report(name, double(bench_now() - start) / 1e9);
    return check;
}

} // namespace

int main(int argc, char **argv) {
    long rounds = bench_option(argc, argv, "rounds", 12);
    uint64_t check = timed("map", map_run, rounds);
    check += timed("strings", strings_run, rounds);
    check += timed("shared", shared_run, rounds);
    return bench_finish(check);
}
