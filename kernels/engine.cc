// The C ABI: checks arguments and turns exceptions into statuses.

#include <algorithm>
#include <stdexcept>
#include <unordered_set>
#include <utility>

#include "kernels/decoding/batch.h"
#include "kernels/network/model.h"
#include "kernels/network/transformer.h"

#define SUB3_EXPORT extern "C" __attribute__((visibility("default")))

struct sub3_model {
  sub3::Model model;
};

namespace {

// The context of a call; cancel may be null.
sub3::Context ContextOf(const int32_t* cancel) { return {&sub3::ActiveIsa(), cancel, &sub3::ThreadPool::OfProcess()}; }

}  // namespace

struct sub3_batch {
  explicit sub3_batch(const sub3::Model& model) : model(model), batch(model, ContextOf(nullptr)) {}
  const sub3::Model& model;
  sub3::Batch batch;
};

namespace {

constexpr uint64_t kMaxSentences = 1u << 16;

class InvalidRequest : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

thread_local std::string last_error;

// Runs f and returns its status; an exception's message goes to last_error.
template <typename F>
int32_t Guard(F f) {
  try {
    f();
    return SUB3_OK;
  } catch (const sub3::InvalidModel& e) {
    last_error = e.what();
    return SUB3_INVALID_MODEL;
  } catch (const InvalidRequest& e) {
    last_error = e.what();
    return SUB3_INVALID_REQUEST;
  } catch (const std::invalid_argument& e) {
    last_error = e.what();
    return SUB3_INVALID_REQUEST;
  } catch (const sub3::Cancelled&) {
    last_error = "The call was cancelled.";
    return SUB3_CANCELLED;
  } catch (const std::bad_alloc&) {
    last_error = "Out of memory: send fewer or shorter sentences at a time, or use a smaller beam.";
    return SUB3_OUT_OF_MEMORY;
  } catch (const std::exception& e) {
    last_error = e.what();
    return SUB3_INTERNAL;
  }
}

void Require(bool condition, const char* sentence) {
  if (!condition) throw InvalidRequest(sentence);
}

void RequireIds(const int32_t* ids, uint64_t n, uint64_t vocab_size, const char* sentence) {
  for (uint64_t i = 0; i < n; ++i) Require(ids[i] >= 0 && static_cast<uint64_t>(ids[i]) < vocab_size, sentence);
}

// The tokens of a phrase, checked but for their number.
std::vector<int32_t> CheckedTokens(const sub3::Config& config, const sub3_phrase& phrase) {
  RequireIds(phrase.tokens, phrase.num_tokens, config.target_vocab_size, "A phrase's token is outside the vocabulary.");
  std::vector<int32_t> tokens(phrase.tokens, phrase.tokens + phrase.num_tokens);
  const auto is_never_chosen = [&](int32_t token) {
    const std::vector<int32_t>& never = config.suppressed;
    return token == config.eos || std::find(never.begin(), never.end(), token) != never.end();
  };
  Require(std::none_of(tokens.begin(), tokens.end(), is_never_chosen),
          "A phrase must not have eos or a suppressed token.");
  return tokens;
}

sub3::Phrase CheckedPhrase(const sub3::Config& config, const sub3_phrase& phrase) {
  Require(phrase.constraint < SUB3_MAX_CONSTRAINTS, "A constraint's number must be below 64.");
  Require(phrase.tokens != nullptr && phrase.num_tokens >= 1 && phrase.num_tokens <= SUB3_MAX_PHRASE_TOKENS,
          "A phrase must have from 1 to 64 tokens.");
  return {CheckedTokens(config, phrase), phrase.constraint};
}

// The checked tokens that the translation of a sentence begins with; none if it may begin with any.
std::vector<int32_t> CheckedPrefix(const sub3::Config& config, const sub3_sentence& sentence) {
  std::vector<int32_t> prefix;
  for (uint64_t i = 0; i < sentence.num_phrases && sentence.phrases != nullptr; ++i) {
    const sub3_phrase& phrase = sentence.phrases[i];
    if (phrase.constraint != SUB3_PREFIX) continue;
    Require(prefix.empty(), "A translation begins with one prefix.");
    Require(phrase.tokens != nullptr && phrase.num_tokens >= 1 && phrase.num_tokens < sentence.max_length,
            "A prefix must have at least one token, and fewer than the maximum length.");
    prefix = CheckedTokens(config, phrase);
  }
  return prefix;
}

// The checked constraints of a sentence.
sub3::Constraints CheckedConstraints(const sub3::Config& config, const sub3_phrase* phrases, uint64_t num_phrases) {
  if (num_phrases == 0) return {};
  Require(phrases != nullptr, "The phrases are missing.");
  Require(num_phrases <= SUB3_MAX_PHRASES, "A sentence takes at most 512 phrases.");
  std::vector<sub3::Phrase> checked;
  checked.reserve(num_phrases);
  for (uint64_t i = 0; i < num_phrases; ++i) {
    if (phrases[i].constraint != SUB3_PREFIX) checked.push_back(CheckedPhrase(config, phrases[i]));
  }
  return sub3::Constraints(std::move(checked));
}

// The candidates of a checked sentence: eos and the tokens of its phrases among them.
std::vector<int32_t> Candidates(const sub3::Model& model, const sub3_sentence& sentence) {
  std::vector<int32_t> also{model.config.eos};
  for (uint64_t i = 0; i < sentence.num_phrases; ++i) {
    const sub3_phrase& phrase = sentence.phrases[i];
    also.insert(also.end(), phrase.tokens, phrase.tokens + phrase.num_tokens);
  }
  return sub3::CandidatesOf(model.lexicon, sentence.tokens, sentence.num_tokens, also, model.config.suppressed);
}

// A checked source: ids in the vocabulary, lengths within the model's positions, options in range.
sub3::Source CheckedSource(const sub3::Model& model, const sub3_sentence& sentence) {
  const sub3::Config& config = model.config;
  Require(sentence.tokens != nullptr && sentence.num_tokens > 0, "Each source needs at least one token.");
  Require(sentence.num_tokens <= config.max_positions, "A source is longer than the model's positions; split it.");
  RequireIds(sentence.tokens, sentence.num_tokens, config.source_vocab_size,
             "A source token is outside the vocabulary.");
  Require(sentence.max_length >= 1 && sentence.max_length <= config.max_positions,
          "A maximum length must be from 1 to the model's positions.");
  Require(sentence.beam_size >= 1 && sentence.beam_size <= SUB3_MAX_BEAM_SIZE, "The beam size must be from 1 to 64.");
  Require(sentence.length_penalty >= 0 && sentence.length_penalty <= 10, "The length penalty must be from 0 to 10.");
  Require(sentence.alignment_layer <= model.decoder.size(),
          "The layer that aligns must be one of the decoder's, from 1, or 0 for none.");
  Require(sentence.shortlist == 0 || !model.lexicon.empty(), "The model has no shortlist.");
  sub3::Source source{
      sentence.id,
      sentence.tokens,
      sentence.num_tokens,
      {sentence.beam_size, sentence.length_penalty, sentence.min_length, sentence.max_length, config.target_vocab_size,
       config.eos, CheckedConstraints(config, sentence.phrases, sentence.num_phrases), SUB3_CONSTRAINED_ROWS,
       CheckedPrefix(config, sentence)},
      sentence.alignment_layer};
  if (sentence.shortlist != 0) {
    source.search.candidates = Candidates(model, sentence);
    source.search.vocab_size = source.search.candidates.size();
  }
  return source;
}

// Checks the arrays of a request and where their offsets start and end; CheckedSources checks the offsets between.
void CheckRequest(const sub3_request& request) {
  Require(request.num_sources > 0, "A request needs at least one source.");
  Require(request.num_sources <= kMaxSentences, "A request takes at most 65536 sources.");
  Require(request.tokens != nullptr && request.offsets != nullptr && request.max_lengths != nullptr,
          "A request's arrays must not be null.");
  Require(request.offsets[0] == 0 && request.offsets[request.num_sources] == request.num_tokens,
          "The offsets must start at 0 and end at the number of tokens.");
  Require(request.num_hypotheses >= 1 && request.num_hypotheses <= std::max(request.beam_size, 1u),
          "The number of hypotheses must be from 1 to the beam size.");
  const uint64_t* phrases = request.phrase_offsets;
  const bool absent = request.num_phrases == 0 && phrases == nullptr;
  Require(absent || (request.num_phrases > 0 && phrases != nullptr && request.phrases != nullptr && phrases[0] == 0 &&
                     phrases[request.num_sources] == request.num_phrases),
          "The phrases' offsets must start at 0 and end at the number of phrases.");
}

// The phrases of source i of a checked request; null if there are none.
std::pair<const sub3_phrase*, uint64_t> PhrasesOf(const sub3_request& request, uint64_t i) {
  if (request.phrase_offsets == nullptr) return {nullptr, 0};
  const uint64_t first = request.phrase_offsets[i], last = request.phrase_offsets[i + 1];
  Require(first <= last && last <= request.num_phrases, "The phrases' offsets must not decrease.");
  return {first == last ? nullptr : request.phrases + first, last - first};
}

// The checked sources of a request; source i has the id i.
std::vector<sub3::Source> CheckedSources(const sub3::Model& model, const sub3_request& request) {
  CheckRequest(request);
  std::vector<sub3::Source> sources;
  for (uint64_t i = 0; i < request.num_sources; ++i) {
    const auto [phrases, num_phrases] = PhrasesOf(request, i);
    const uint64_t begin = request.offsets[i], end = request.offsets[i + 1];
    Require(begin < end && end <= request.num_tokens,
            "Each source needs at least one token, and the offsets must increase.");
    sources.push_back(CheckedSource(
        model, {i, request.tokens + begin, end - begin, request.max_lengths[i], request.min_length, request.beam_size,
                request.length_penalty, request.alignment_layer, phrases, num_phrases, request.shortlist}));
  }
  return sources;
}

void CheckResult(const sub3_result& result, uint64_t num_slots, uint64_t longest, uint64_t longest_source) {
  Require(result.tokens != nullptr && result.lengths != nullptr && result.scores != nullptr &&
              result.num_slots == num_slots && result.max_length >= longest &&
              result.num_tokens == num_slots * result.max_length,
          "The result's arrays do not fit the request.");
  Require(result.alignments == nullptr ||
              (result.max_source_length >= longest_source &&
               result.num_alignments == num_slots * (result.max_length + 1) * result.max_source_length),
          "The result's array of alignments does not fit the request.");
}

// Writes the best hypotheses to slots [first, first + count) of the result.
void WriteHypotheses(const std::vector<sub3::Hypothesis>& hypotheses, uint64_t first, uint64_t count,
                     sub3_result* result) {
  for (uint64_t h = 0; h < count; ++h) {
    const uint64_t slot = first + h;
    result->lengths[slot] = -1;
    result->scores[slot] = 0;
    if (h >= hypotheses.size()) continue;
    const std::vector<int32_t>& ids = hypotheses[h].ids;
    if (result->alignments != nullptr) {
      const std::vector<float>& alignment = hypotheses[h].alignment;
      const size_t source_length = alignment.size() / (ids.size() + 1);
      for (size_t t = 0; t <= ids.size(); ++t) {
        std::copy_n(alignment.data() + t * source_length, source_length,
                    result->alignments + (slot * (result->max_length + 1) + t) * result->max_source_length);
      }
    }
    std::copy(ids.begin(), ids.end(), result->tokens + slot * result->max_length);
    result->lengths[slot] = static_cast<int32_t>(ids.size());
    result->scores[slot] = hypotheses[h].score;
  }
}

void WriteCost(const sub3::Cost& cost, sub3_result* result) {
  result->encode_seconds = cost.encode_seconds;
  result->decode_seconds = cost.decode_seconds;
  result->workspace_peak_bytes = cost.workspace_peak_bytes;
  result->kv_cache_peak_bytes = cost.kv_cache_peak_bytes;
}

// Runs a whole request in a batch of its own.
void Translate(const sub3::Model& model, const sub3_request& request, sub3_result* result) {
  const std::vector<sub3::Source> sources = CheckedSources(model, request);
  size_t longest_source = 0;
  for (const sub3::Source& source : sources) longest_source = std::max(longest_source, source.num_tokens);
  CheckResult(*result, request.num_sources * request.num_hypotheses,
              *std::max_element(request.max_lengths, request.max_lengths + request.num_sources), longest_source);
  const sub3::Context context = ContextOf(request.cancel);
  const sub3::ThreadPool::Caller caller(context.pool);
  sub3::Batch batch(model, context);
  batch.Add(sources);
  while (batch.num_running() > 0) {
    for (uint64_t id : batch.Step()) {
      WriteHypotheses(batch.Find(id)->hypotheses, id * request.num_hypotheses, request.num_hypotheses, result);
      batch.Remove(id);
    }
  }
  WriteCost(batch.cost(), result);
}

void BatchAdd(sub3_batch* batch, const sub3_sentence* sentences, uint64_t num_sentences) {
  Require(sentences != nullptr && num_sentences > 0, "The sentences are missing.");
  Require(num_sentences <= kMaxSentences, "At most 65536 sentences join at a time.");
  std::vector<sub3::Source> sources;
  std::unordered_set<uint64_t> ids;
  for (uint64_t i = 0; i < num_sentences; ++i) {
    sources.push_back(CheckedSource(batch->model, sentences[i]));
    Require(ids.insert(sentences[i].id).second && !batch->batch.Has(sentences[i].id),
            "Another sentence of the batch has the same id.");
  }
  const sub3::ThreadPool::Caller caller(&sub3::ThreadPool::OfProcess());
  batch->batch.Add(sources);
}

void BatchStep(sub3_batch* batch, uint64_t max_steps, const int32_t* interrupt, sub3_progress* progress) {
  sub3::Batch& running = batch->batch;
  Require(progress->ended != nullptr && progress->capacity >= running.num_running(),
          "The array of ended sentences must have room for all that are running.");
  const double seconds_before = running.cost().decode_seconds;
  progress->num_ended = progress->num_steps = progress->num_rows = 0;
  progress->workspace_bytes = progress->kv_cache_bytes = 0;
  const sub3::ThreadPool::Caller caller(&sub3::ThreadPool::OfProcess());
  while (progress->num_steps < max_steps && progress->num_ended == 0 && running.num_running() > 0) {
    progress->num_rows += running.num_rows();
    ++progress->num_steps;
    for (uint64_t id : running.Step()) progress->ended[progress->num_ended++] = id;
    if (interrupt != nullptr && __atomic_load_n(interrupt, __ATOMIC_RELAXED) != 0) break;
  }
  progress->workspace_bytes = running.workspace_bytes();
  progress->kv_cache_bytes = running.kv_cache_bytes();
  progress->seconds = running.cost().decode_seconds - seconds_before;
}

void BatchTake(sub3_batch* batch, uint64_t id, sub3_result* result) {
  const sub3::SentenceResult* found = batch->batch.Find(id);
  Require(found != nullptr, "No ended sentence of the batch has that id.");
  size_t longest = 1, source_length = 0;
  for (const sub3::Hypothesis& hypothesis : found->hypotheses) {
    longest = std::max(longest, hypothesis.ids.size());
    source_length = hypothesis.alignment.size() / (hypothesis.ids.size() + 1);
  }
  CheckResult(*result, std::max<uint64_t>(result->num_slots, 1), longest, source_length);
  WriteHypotheses(found->hypotheses, 0, result->num_slots, result);
  WriteCost(found->cost, result);
  batch->batch.Remove(id);
}

void Logits(const sub3::Model& model, const int32_t* source, uint64_t source_length, const int32_t* target,
            uint64_t target_length, float* logits, uint64_t num_logits) {
  const sub3::Config& config = model.config;
  Require(source != nullptr && target != nullptr && logits != nullptr, "The arrays must not be null.");
  Require(source_length >= 1 && source_length <= config.max_positions && target_length >= 1 &&
              target_length <= config.max_positions,
          "Source and target need from 1 token to the model's positions.");
  Require(num_logits == target_length * config.target_vocab_size, "The logits' array does not fit the target.");
  RequireIds(source, source_length, config.source_vocab_size, "A source token is outside the vocabulary.");
  RequireIds(target, target_length, config.target_vocab_size, "A target token is outside the vocabulary.");
  const sub3::Context context = ContextOf(nullptr);
  const sub3::ThreadPool::Caller caller(context.pool);
  sub3::Workspace workspace;
  const sub3::Encoded encoded = sub3::Encode(model, context, source, {0, source_length}, &workspace);
  sub3::Decoder decoder(model, context);
  sub3::DecoderState state(model, source_length, 1, target_length);
  decoder.Join(encoded, {&state});
  decoder.Reserve(1, std::max(source_length, target_length));
  for (uint64_t t = 0; t < target_length; ++t) {
    decoder.Step({{&state, 0, target[t]}}, logits + t * config.target_vocab_size);
  }
}

}  // namespace

SUB3_EXPORT const char* sub3_last_error(void) { return last_error.c_str(); }

SUB3_EXPORT const char* sub3_isa(void) {
  const char* name = nullptr;
  Guard([&] { name = sub3::ActiveIsa().name; });
  return name;
}

SUB3_EXPORT int32_t sub3_set_threads(uint32_t threads) {
  return Guard([&] {
    Require(threads >= 1 && threads <= SUB3_MAX_THREADS, "The number of threads must be from 1 to 256.");
    sub3::ThreadPool::OfProcess().Resize(threads);
  });
}

SUB3_EXPORT int32_t sub3_model_create(const sub3_config* config, const sub3_tensor* tensors, uint64_t num_tensors,
                                      const sub3_segment* segments, uint64_t num_segments, sub3_model** model) {
  return Guard([&] {
    Require(config != nullptr && model != nullptr, "The configuration or the place for the model is missing.");
    sub3::ActiveIsa();
    *model = new sub3_model{sub3::BuildModel(*config, tensors, num_tensors, segments, num_segments)};
  });
}

SUB3_EXPORT void sub3_model_destroy(sub3_model* model) { delete model; }

SUB3_EXPORT uint64_t sub3_model_weight_bytes(const sub3_model* model) {
  return model == nullptr ? 0 : model->model.weight_bytes;
}

SUB3_EXPORT uint64_t sub3_position_table_bytes(uint32_t max_positions, uint32_t d_model) {
  return sub3::Positions::TableBytes(max_positions, d_model);
}

SUB3_EXPORT int32_t sub3_translate(const sub3_model* model, const sub3_request* request, sub3_result* result) {
  return Guard([&] {
    Require(model != nullptr && request != nullptr && result != nullptr, "An argument is null.");
    Translate(model->model, *request, result);
  });
}

SUB3_EXPORT int32_t sub3_batch_create(const sub3_model* model, sub3_batch** batch) {
  return Guard([&] {
    Require(model != nullptr && batch != nullptr, "The model or the place for the batch is missing.");
    *batch = new sub3_batch(model->model);
  });
}

SUB3_EXPORT void sub3_batch_destroy(sub3_batch* batch) { delete batch; }

SUB3_EXPORT int32_t sub3_batch_add(sub3_batch* batch, const sub3_sentence* sentences, uint64_t num_sentences) {
  return Guard([&] {
    Require(batch != nullptr, "The batch is null.");
    BatchAdd(batch, sentences, num_sentences);
  });
}

SUB3_EXPORT int32_t sub3_batch_step(sub3_batch* batch, uint64_t max_steps, const int32_t* interrupt,
                                    sub3_progress* progress) {
  return Guard([&] {
    Require(batch != nullptr && progress != nullptr, "The batch or the place for its progress is missing.");
    BatchStep(batch, max_steps, interrupt, progress);
  });
}

SUB3_EXPORT int32_t sub3_batch_take(sub3_batch* batch, uint64_t id, sub3_result* result) {
  return Guard([&] {
    Require(batch != nullptr && result != nullptr, "The batch or the place for the result is missing.");
    BatchTake(batch, id, result);
  });
}

SUB3_EXPORT int32_t sub3_batch_remove(sub3_batch* batch, uint64_t id) {
  return Guard([&] {
    Require(batch != nullptr, "The batch is null.");
    Require(batch->batch.Remove(id), "No sentence of the batch has that id.");
  });
}

SUB3_EXPORT int32_t sub3_logits(const sub3_model* model, const int32_t* source, uint64_t source_length,
                                const int32_t* target, uint64_t target_length, float* logits, uint64_t num_logits) {
  return Guard([&] {
    Require(model != nullptr, "The model is null.");
    Logits(model->model, source, source_length, target, target_length, logits, num_logits);
  });
}

SUB3_EXPORT int32_t sub3_bcq_matmul(const char* isa, uint32_t int8, const sub3_tensor* tensors, uint64_t num_tensors,
                                    const sub3_segment* segments, uint64_t num_segments, uint64_t rows,
                                    uint64_t columns, const float* x, uint64_t n, float* y) {
  return Guard([&] {
    Require(x != nullptr && y != nullptr && columns >= 1 && columns <= sub3::kMaxColumns && rows >= 1,
            "The arrays must not be null, and columns must be from 1 to 131072.");
    sub3::TensorTable table(tensors, num_tensors, segments, num_segments);
    const sub3::BcqMatrix matrix = table.Matrix("m", rows, columns);
    const sub3::Isa& chosen = isa == nullptr ? sub3::ActiveIsa() : sub3::IsaByName(isa);
    sub3::Workspace workspace;
    Require(!int8 || sub3::FitsInt8(matrix, sub3::kMaxInt8Planes),
            "The int8 GEMM takes at most six planes and one scale group a row.");
    const auto multiply = int8 ? chosen.bcq_int8_matmul : chosen.bcq_matmul;
    void* scratch = workspace.Allocate<char>(int8 ? sub3::BcqInt8MatmulScratchBytes(columns, n)
                                                  : sub3::BcqMatmulScratchBytes(columns, n));
    const sub3::Product product{&matrix, nullptr, y, rows, 0, rows};
    multiply(&product, 1, x, columns, columns, n, scratch);
  });
}
