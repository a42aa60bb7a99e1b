// The phrases that a translation must have, and how far a hypothesis has come with them; knows no scores.
//
// A constraint is met when one of its phrases has been read; phrases of a constraint are alternatives (casings, say).
// A state keeps the constraints met and the longest end of what was read since that is the beginning of a phrase of an
// unmet one. Each token counts for one constraint: a phrase within another is met apart from it.

#ifndef SUB3_KERNELS_CONSTRAINTS_H_
#define SUB3_KERNELS_CONSTRAINTS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sub3 {

struct Phrase {
  std::vector<int32_t> tokens;  // at least one
  uint32_t constraint;          // below SUB3_MAX_CONSTRAINTS, for ConstraintState::met has a bit for each
};

struct ConstraintState {
  uint64_t met = 0;                    // a bit a constraint
  uint32_t phrase = 0, num_begun = 0;  // the first num_begun tokens of a phrase have just been read
};

class Constraints {
 public:
  Constraints() = default;
  explicit Constraints(std::vector<Phrase> phrases);

  bool empty() const { return phrases_.empty(); }

  // The state after one more token.
  ConstraintState After(const ConstraintState& state, int32_t token) const;

  // The fewest tokens after which all can be met; 0: they are. There is always one of Next that takes one off.
  size_t Needed(const ConstraintState& state) const;

  // The tokens that go on with the phrase begun, or begin one where none is; each once.
  std::vector<int32_t> Next(const ConstraintState& state) const;

  // The most that Needed can be.
  size_t max_needed() const { return max_needed_; }

 private:
  bool IsMet(const ConstraintState& state, const Phrase& phrase) const { return state.met >> phrase.constraint & 1; }
  bool Begins(const Phrase& phrase, const std::vector<int32_t>& tokens, size_t begin) const;
  size_t ShortestUnmet(uint64_t met) const;

  std::vector<Phrase> phrases_;
  std::vector<size_t> shortest_;  // of each constraint, the length of its shortest phrase; 0: none has that number
  size_t max_needed_ = 0;
};

}  // namespace sub3

#endif  // SUB3_KERNELS_CONSTRAINTS_H_
