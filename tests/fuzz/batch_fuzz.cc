// libFuzzer target: calls of a model that joins hostile sentences to a batch, steps, takes and removes, and asks for
// translations and logits. What the caller promises holds: arrays have the lengths that are stated.

#include "tests/fuzz/input.h"
#include "tests/kernels/tiny_model.h"

namespace {

constexpr size_t kTokens = 64, kPhrases = 8, kSlots = 8;

const sub3_model* Model(bool pre_norm) {
  static Tables tables[2] = {Tables(SUB3_RELU, false), Tables(SUB3_RELU, true, /*ssru=*/true)};
  static sub3_model* models[2] = {};
  sub3_model*& model = models[pre_norm];
  if (model == nullptr) {
    if (!pre_norm) tables[pre_norm].AddShortlist();
    CHECK(tables[pre_norm].Create(&model) == SUB3_OK);
  }
  return model;
}

// Arrays that calls point into.
struct Arrays {
  int32_t tokens[kTokens] = {};
  int32_t phrase_tokens[kPhrases][SUB3_MAX_PHRASE_TOKENS] = {};
  sub3_phrase phrases[kPhrases] = {};
  uint64_t offsets[4] = {}, phrase_offsets[4] = {};
  uint32_t max_lengths[4] = {};
  int32_t out_tokens[kSlots * kPositions] = {}, lengths[kSlots] = {};
  float scores[kSlots] = {}, alignments[kSlots * (kPositions + 1) * kPositions] = {}, logits[4 * kVocab] = {};
};

int32_t Token(Input* input) {
  const uint64_t byte = input->Below(256);
  return byte < 250 ? static_cast<int32_t>(byte % (kVocab + 1)) : static_cast<int32_t>(input->Number());
}

uint64_t FillPhrases(Input* input, Arrays* arrays) {
  const uint64_t count = input->Below(kPhrases + 1);
  for (uint64_t i = 0; i < count; ++i) {
    sub3_phrase& phrase = arrays->phrases[i];
    phrase.num_tokens = input->Below(4);
    for (uint64_t t = 0; t < phrase.num_tokens; ++t) arrays->phrase_tokens[i][t] = Token(input);
    phrase.tokens = input->Below(16) ? arrays->phrase_tokens[i] : nullptr;
    phrase.constraint = static_cast<uint32_t>(input->Below(4) ? input->Below(3) : input->Number());
  }
  return count;
}

sub3_result ResultOf(Input* input, Arrays* arrays) {
  sub3_result result{};
  result.num_slots = input->Below(kSlots + 1);
  result.max_length = static_cast<uint32_t>(input->Below(kPositions + 1));
  result.num_tokens = input->Below(8) ? result.num_slots * result.max_length : input->Below(kSlots * kPositions);
  result.tokens = arrays->out_tokens, result.lengths = arrays->lengths, result.scores = arrays->scores;
  if (input->Below(2)) {
    result.alignments = arrays->alignments;
    result.max_source_length = input->Below(kPositions + 1);
    result.num_alignments = result.num_slots * (result.max_length + 1) * result.max_source_length;
  }
  return result;
}

uint64_t FillTokens(Input* input, Arrays* arrays, size_t most) {
  const uint64_t count = input->Below(most + 1);
  for (uint64_t i = 0; i < count; ++i) arrays->tokens[i] = Token(input);
  if (count > 0 && input->Below(4)) arrays->tokens[count - 1] = kEos;
  return count;
}

void Add(Input* input, Arrays* arrays, sub3_batch* batch) {
  sub3_sentence sentences[2] = {};
  const uint64_t count = 1 + input->Below(2);
  const uint64_t tokens = FillTokens(input, arrays, 8), phrases = input->Below(3) ? 0 : FillPhrases(input, arrays);
  for (uint64_t i = 0; i < count; ++i) {
    sub3_sentence& sentence = sentences[i];
    sentence.id = input->Below(8);
    sentence.tokens = input->Below(16) ? arrays->tokens : nullptr;
    sentence.num_tokens = tokens;
    sentence.max_length = static_cast<uint32_t>(input->Below(8) ? input->Below(kPositions + 2) : input->Number());
    sentence.min_length = static_cast<uint32_t>(input->Below(4) ? 0 : input->Number());
    sentence.beam_size = static_cast<uint32_t>(input->Below(8) ? input->Below(5) : input->Number());
    sentence.length_penalty = input->Below(4) ? 1.0f : input->Take<float>();
    sentence.alignment_layer = static_cast<uint32_t>(input->Below(4) ? input->Below(3) : input->Number());
    sentence.phrases = phrases ? arrays->phrases : nullptr;
    sentence.num_phrases = phrases;
    sentence.shortlist = static_cast<uint32_t>(input->Below(3));
  }
  sub3_batch_add(batch, sentences, count);
}

void Translate(Input* input, Arrays* arrays, const sub3_model* model) {
  sub3_request request{};
  request.tokens = arrays->tokens, request.num_tokens = FillTokens(input, arrays, 12);
  request.offsets = arrays->offsets, request.max_lengths = arrays->max_lengths;
  request.num_sources = 1 + input->Below(3);
  for (uint64_t i = 0; i <= request.num_sources; ++i) {
    arrays->offsets[i] = i == request.num_sources ? request.num_tokens : input->Below(8) ? i : input->Number();
    arrays->max_lengths[i] = static_cast<uint32_t>(input->Below(kPositions + 2));
  }
  request.min_length = static_cast<uint32_t>(input->Below(4));
  request.beam_size = static_cast<uint32_t>(input->Below(8) ? input->Below(4) : input->Number());
  request.num_hypotheses = static_cast<uint32_t>(input->Below(8) ? input->Below(3) : input->Number());
  request.length_penalty = 1;
  request.alignment_layer = static_cast<uint32_t>(input->Below(4));
  request.shortlist = static_cast<uint32_t>(input->Below(2));
  if (input->Below(2)) {
    request.phrases = arrays->phrases, request.num_phrases = FillPhrases(input, arrays);
    for (uint64_t i = 0; i <= request.num_sources; ++i) {
      arrays->phrase_offsets[i] = i == request.num_sources ? request.num_phrases : i ? input->Number() : 0;
    }
    request.phrase_offsets = arrays->phrase_offsets;
  }
  sub3_result result = ResultOf(input, arrays);
  sub3_translate(model, &request, &result);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  const sub3_model* model = Model(input.Below(2) == 1);
  static Arrays arrays;
  sub3_batch* batch = nullptr;
  CHECK(sub3_batch_create(model, &batch) == SUB3_OK);
  for (int calls = 0; !input.empty() && calls < 16; ++calls) {
    switch (input.Below(6)) {
      case 0:
        Add(&input, &arrays, batch);
        break;
      case 1: {
        uint64_t ended[64];
        sub3_progress progress{};
        progress.ended = ended, progress.capacity = input.Below(65);
        sub3_batch_step(batch, 1 + input.Below(4), nullptr, &progress);
        break;
      }
      case 2: {
        sub3_result result = ResultOf(&input, &arrays);
        sub3_batch_take(batch, input.Below(8), &result);
        break;
      }
      case 3:
        sub3_batch_remove(batch, input.Below(8));
        break;
      case 4:
        Translate(&input, &arrays, model);
        break;
      default: {
        const uint64_t source = FillTokens(&input, &arrays, 6), target = input.Below(5);
        sub3_logits(model, arrays.tokens, source, arrays.tokens, target, arrays.logits, target * kVocab);
      }
    }
  }
  sub3_batch_destroy(batch);
  return 0;
}
