// libFuzzer target: the search of a sentence over logits that an adversary's weights could make, infinities and NaN
// among them, with phrases, a prefix and a shortlist. What it returns can be decoded: rows that are there, tokens that
// may be chosen, an end within max_length. With finite logits each hypothesis has the phrases that there is room for.

#include <limits>

#include "kernels/decoding/search.h"
#include "kernels/products/isa.h"
#include "tests/fuzz/input.h"
#include "tests/kernels/tiny_model.h"

namespace {

constexpr size_t kMostWords = 24, kMostRows = 8;

float Logit(Input* input, bool* is_finite) {
  const uint8_t byte = input->Take<uint8_t>();
  if (byte < 240) return static_cast<float>(byte) / 16 - 8;
  const float odd[] = {-std::numeric_limits<float>::infinity(),
                       std::numeric_limits<float>::infinity(),
                       std::numeric_limits<float>::quiet_NaN(),
                       3e38f,
                       -3e38f,
                       1e-40f};
  const float value = odd[byte % 6];
  *is_finite &= byte % 6 >= 5;
  return value;
}

struct Problem {
  size_t words;
  std::vector<sub3::Phrase> phrases;
  sub3::SearchOptions options;

  explicit Problem(Input* input) : words(2 + input->Below(kMostWords - 1)), options{} {
    options.beam_size = 1 + input->Below(5);
    options.length_penalty = static_cast<float>(input->Below(11));
    options.max_length = 1 + static_cast<uint32_t>(input->Below(8));
    options.min_length = static_cast<uint32_t>(input->Below(4) ? input->Below(3) : input->Number());
    options.eos = static_cast<int32_t>(input->Below(words));
    options.constrained_rows = SUB3_CONSTRAINED_ROWS;
    for (uint64_t i = input->Below(2) ? 0 : input->Below(6); i > 0; --i) {
      std::vector<int32_t> tokens(1 + input->Below(3));
      for (int32_t& token : tokens) token = Word(input);
      phrases.push_back({tokens, static_cast<uint32_t>(input->Below(8) ? input->Below(3) : input->Below(64))});
    }
    options.constraints = sub3::Constraints(phrases);
    for (uint64_t i = input->Below(4) ? 0 : input->Below(options.max_length); i > 0; --i) {
      options.prefix.push_back(Word(input));
    }
    if (input->Below(3) == 0) Shortlist(input);
    options.vocab_size = options.candidates.empty() ? words : options.candidates.size();
  }

  // A word that is not eos.
  int32_t Word(Input* input) const {
    const auto word = static_cast<int32_t>(input->Below(words - 1));
    return word < options.eos ? word : word + 1;
  }

  // Some words, with eos and those of the phrases and the prefix, as the engine has it.
  void Shortlist(Input* input) {
    std::vector<int32_t>& found = options.candidates;
    found = options.prefix;
    found.push_back(options.eos);
    for (const sub3::Phrase& phrase : phrases) found.insert(found.end(), phrase.tokens.begin(), phrase.tokens.end());
    for (uint64_t i = input->Below(6); i > 0; --i) found.push_back(static_cast<int32_t>(input->Below(words)));
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
  }

  bool MayChoose(int32_t token) const {
    const std::vector<int32_t>& only = options.candidates;
    return token >= 0 && static_cast<size_t>(token) < words && token != options.eos &&
           (only.empty() || std::binary_search(only.begin(), only.end(), token));
  }

  // Tells whether the shortest phrase of each constraint fits behind the prefix, with eos.
  bool HasRoom() const {
    return options.constraints.empty() ||
           options.prefix.size() + options.constraints.Needed({}) + 1 <= options.max_length;
  }

  // Tells whether the tokens have a phrase of each constraint.
  bool HasAll(const std::vector<int32_t>& ids) const {
    return std::all_of(phrases.begin(), phrases.end(), [&](const sub3::Phrase& one) {
      return std::any_of(phrases.begin(), phrases.end(), [&](const sub3::Phrase& other) {
        const std::vector<int32_t>& wanted = other.tokens;
        return other.constraint == one.constraint &&
               std::search(ids.begin(), ids.end(), wanted.begin(), wanted.end()) != ids.end();
      });
    });
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  const Problem problem(&input);
  const sub3::SearchOptions& options = problem.options;
  sub3::Search search(options);
  bool is_finite = true;
  size_t rows = 1, rows_taken = 0, steps = 0;
  std::vector<float> logits;
  while (rows > 0) {
    CHECK(++steps <= options.max_length);
    logits.resize(rows * options.vocab_size);
    for (float& logit : logits) logit = Logit(&input, &is_finite);
    const auto next = search.Advance(*sub3::ActiveIsa().float_ops, logits.data());
    CHECK(next.size() <= options.num_rows());
    for (const sub3::Continuation& row : next) CHECK(row.parent < rows && problem.MayChoose(row.token));
    rows_taken += rows, rows = next.size();
  }
  const std::vector<sub3::Hypothesis> found = search.TakeHypotheses();
  CHECK(found.size() <= options.beam_size);
  CHECK(!found.empty() || !is_finite);
  for (const sub3::Hypothesis& hypothesis : found) {
    CHECK(hypothesis.ids.size() <= options.max_length && hypothesis.rows.size() == hypothesis.ids.size() + 1);
    for (const int32_t id : hypothesis.ids) CHECK(problem.MayChoose(id));
    for (const uint32_t row : hypothesis.rows) CHECK(row < rows_taken);
    const size_t fixed = std::min(options.prefix.size(), hypothesis.ids.size());
    CHECK(std::equal(options.prefix.begin(), options.prefix.begin() + static_cast<ptrdiff_t>(fixed),
                     hypothesis.ids.begin()));
    CHECK(!is_finite || !problem.HasRoom() || problem.HasAll(hypothesis.ids));
  }
  return 0;
}
