// Lexical constraints: phrases that a translation must contain, and the progress of a hypothesis with them. No scores.
//
// A constraint is met when a hypothesis contains one of its phrases, which are alternatives (casings, for example). A
// state keeps the constraints met, and the longest suffix of the tokens since then that is a prefix of a phrase of an
// unmet constraint. Each token counts for one constraint: a phrase within another is met separately.

#ifndef SUB3_KERNELS_CONSTRAINTS_H_
#define SUB3_KERNELS_CONSTRAINTS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sub3 {

struct Phrase {
  std::vector<int32_t> tokens;  // at least one
  uint32_t constraint;          // below SUB3_MAX_CONSTRAINTS: ConstraintState::met has a bit for each
};

struct ConstraintState {
  uint64_t met = 0;                      // one bit for each constraint
  uint32_t phrase = 0, num_matched = 0;  // the hypothesis ends with the first num_matched tokens of the phrase
};

class Constraints {
 public:
  Constraints() = default;
  explicit Constraints(std::vector<Phrase> phrases);

  bool empty() const { return phrases_.empty(); }

  // The state after one more token.
  ConstraintState After(const ConstraintState& state, int32_t token) const;

  // The fewest tokens that meet all constraints; 0: all are met. At least one of the tokens of Next lowers it by one.
  size_t Needed(const ConstraintState& state) const;

  // The tokens that continue the matched prefix, or start a phrase if nothing is matched; each once.
  std::vector<int32_t> Next(const ConstraintState& state) const;

  // The largest value of Needed.
  size_t max_needed() const { return max_needed_; }

 private:
  bool IsMet(const ConstraintState& state, const Phrase& phrase) const { return state.met >> phrase.constraint & 1; }
  std::vector<int32_t> Matched(const ConstraintState& state) const;
  size_t ShortestUnmet(uint64_t met) const;

  std::vector<Phrase> phrases_;
  std::vector<size_t> shortest_;  // length of the shortest phrase of each constraint; 0: no constraint has this number
  size_t max_needed_ = 0;
};

}  // namespace sub3

#endif  // SUB3_KERNELS_CONSTRAINTS_H_
