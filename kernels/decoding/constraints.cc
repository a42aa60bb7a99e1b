#include "kernels/decoding/constraints.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace sub3 {

namespace {

// Tells whether tokens[begin ..] are a prefix of the phrase, or all of it.
bool StartsWith(const Phrase& phrase, const std::vector<int32_t>& tokens, size_t begin) {
  return tokens.size() - begin <= phrase.tokens.size() &&
         std::equal(tokens.data() + begin, tokens.data() + tokens.size(), phrase.tokens.begin());
}

}  // namespace

Constraints::Constraints(std::vector<Phrase> phrases) : phrases_(std::move(phrases)) {
  size_t longest = 0;
  for (const Phrase& phrase : phrases_) {
    if (phrase.constraint >= shortest_.size()) shortest_.resize(phrase.constraint + 1);
    size_t& shortest = shortest_[phrase.constraint];
    shortest = shortest == 0 ? phrase.tokens.size() : std::min(shortest, phrase.tokens.size());
    longest = std::max(longest, phrase.tokens.size());
  }
  max_needed_ = ShortestUnmet(0) + longest;
}

ConstraintState Constraints::After(const ConstraintState& state, int32_t token) const {
  std::vector<int32_t> read = Matched(state);
  read.push_back(token);
  for (size_t begin = 0; begin < read.size(); ++begin) {  // the longest suffix first
    const uint32_t length = static_cast<uint32_t>(read.size() - begin);
    ConstraintState best{state.met, 0, 0};
    size_t fewest = std::numeric_limits<size_t>::max();
    for (uint32_t p = 0; p < phrases_.size(); ++p) {
      const Phrase& phrase = phrases_[p];
      if (IsMet(state, phrase) || !StartsWith(phrase, read, begin)) continue;
      const ConstraintState after = phrase.tokens.size() > length
                                        ? ConstraintState{state.met, p, length}
                                        : ConstraintState{state.met | uint64_t{1} << phrase.constraint, 0, 0};
      const size_t needed = Needed(after);
      if (needed < fewest || (needed == fewest && after.num_matched < best.num_matched)) best = after, fewest = needed;
    }
    if (fewest < std::numeric_limits<size_t>::max()) return best;
  }
  return {state.met, 0, 0};
}

size_t Constraints::Needed(const ConstraintState& state) const {
  const size_t unmet = ShortestUnmet(state.met);
  if (state.num_matched == 0) return unmet;
  const std::vector<int32_t> matched = Matched(state);
  size_t fewest = std::numeric_limits<size_t>::max();
  for (const Phrase& phrase : phrases_) {
    if (IsMet(state, phrase) || phrase.tokens.size() == matched.size() || !StartsWith(phrase, matched, 0)) continue;
    fewest = std::min(fewest, unmet - shortest_[phrase.constraint] + phrase.tokens.size() - matched.size());
  }
  return fewest;
}

std::vector<int32_t> Constraints::Next(const ConstraintState& state) const {
  const std::vector<int32_t> matched = Matched(state);
  std::vector<int32_t> next;
  for (const Phrase& phrase : phrases_) {
    if (IsMet(state, phrase) || phrase.tokens.size() == matched.size() || !StartsWith(phrase, matched, 0)) continue;
    const int32_t token = phrase.tokens[matched.size()];
    if (std::find(next.begin(), next.end(), token) == next.end()) next.push_back(token);
  }
  return next;
}

// The matched prefix of a phrase.
std::vector<int32_t> Constraints::Matched(const ConstraintState& state) const {
  if (state.num_matched == 0) return {};
  const int32_t* tokens = phrases_[state.phrase].tokens.data();
  return {tokens, tokens + state.num_matched};
}

size_t Constraints::ShortestUnmet(uint64_t met) const {
  size_t sum = 0;
  for (uint32_t c = 0; c < shortest_.size(); ++c) sum += met >> c & 1 ? 0 : shortest_[c];
  return sum;
}

}  // namespace sub3
