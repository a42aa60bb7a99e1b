// The search of a sentence over logits written by hand: what no random model shows, above all how ties are broken.
// Exits non-zero at the first failure.

#include "kernels/decoding/search.h"

#include <limits>

#include "kernels/products/isa.h"
#include "tests/kernels/tiny_model.h"

namespace {

constexpr size_t kWords = 5;  // eos, then four tokens

sub3::SearchOptions Options(size_t beam_size) { return {beam_size, 1.0f, 0, 10, kWords, kEos}; }

// One step of the rows whose logits these are.
std::vector<sub3::Continuation> Advance(sub3::Search* search, const std::vector<std::vector<float>>& rows) {
  std::vector<float> logits;
  for (const std::vector<float>& row : rows) logits.insert(logits.end(), row.begin(), row.end());
  return search->Advance(*sub3::ActiveIsa().float_ops, logits.data());
}

// Of equal tokens the lower goes first, of equal rows the earlier, of equal hypotheses the one found first.
void TestTies() {
  sub3::Search search(Options(2));
  std::vector<sub3::Continuation> rows = Advance(&search, {{-9, 1, 3, 1, 3}});
  CHECK(rows.size() == 2 && rows[0].token == 2 && rows[1].token == 4);
  rows = Advance(&search, {{-9, 3, 1, 3, 1}, {-9, 3, 1, 3, 1}});
  CHECK(rows.size() == 2 && rows[0].parent == 0 && rows[0].token == 1 && rows[1].parent == 0 && rows[1].token == 3);
  CHECK(Advance(&search, {{3, 1, 1, 1, 1}, {3, 1, 1, 1, 1}}).empty());
  const std::vector<sub3::Hypothesis> found = search.TakeHypotheses();
  CHECK(found.size() == 2 && found[0].score == found[1].score);
  CHECK((found[0].ids == std::vector<int32_t>{2, 1}) && (found[1].ids == std::vector<int32_t>{2, 3}));
}

// A sentence is done when its best running row is as good as the worst of its hypotheses.
void TestIsDoneAtEqualScores() {
  sub3::Search search(Options(2));
  const float never = -std::numeric_limits<float>::infinity();
  CHECK(Advance(&search, {{never, 2, 2, never, never}}).size() == 2);
  CHECK(Advance(&search, {{5, never, never, never, never}, {2, 2, never, never, never}}).empty());
  const std::vector<sub3::Hypothesis> found = search.TakeHypotheses();
  CHECK(found.size() == 2 && (found[0].ids == std::vector<int32_t>{1}) && (found[1].ids == std::vector<int32_t>{2}));
}

}  // namespace

int main() {
  TestTies();
  TestIsDoneAtEqualScores();
  std::printf("search test on %s: %d checks hold\n", sub3_isa(), checks.load());
  return 0;
}
