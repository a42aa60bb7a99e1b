// The C ABI: checks the arguments, turns exceptions into statuses, and nothing more.

#include <algorithm>
#include <chrono>
#include <limits>
#include <stdexcept>

#include "kernels/model.h"
#include "kernels/search.h"
#include "kernels/transformer.h"

#define SUB3_EXPORT extern "C" __attribute__((visibility("default")))

struct sub3_model {
  sub3::Model model;
};

namespace {

using Clock = std::chrono::steady_clock;

class InvalidRequest : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

thread_local std::string last_error;

// Runs f; an exception becomes its status and last_error its sentence.
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

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

void RequireIds(const int32_t* ids, uint64_t n, uint64_t vocab_size, const char* sentence) {
  for (uint64_t i = 0; i < n; ++i) Require(ids[i] >= 0 && static_cast<uint64_t>(ids[i]) < vocab_size, sentence);
}

// Sentence boundaries, checked: increasing, within the tokens, no longer than the model's positions.
std::vector<size_t> CheckSources(const sub3::Config& config, const sub3_request& request) {
  Require(request.num_sources > 0, "A request needs at least one source.");
  Require(request.tokens != nullptr && request.offsets != nullptr && request.max_lengths != nullptr,
          "A request's arrays must not be null.");
  Require(request.offsets[0] == 0 && request.offsets[request.num_sources] == request.num_tokens,
          "The offsets must start at 0 and end at the number of tokens.");
  for (uint64_t i = 0; i < request.num_sources; ++i) {
    Require(request.offsets[i] < request.offsets[i + 1] && request.offsets[i + 1] <= request.num_tokens,
            "Each source needs at least one token, and the offsets must increase.");
    Require(request.offsets[i + 1] - request.offsets[i] <= config.max_positions,
            "A source is longer than the model's positions; split it.");
    Require(request.max_lengths[i] >= 1 && request.max_lengths[i] <= config.max_positions,
            "A maximum length must be from 1 to the model's positions.");
  }
  RequireIds(request.tokens, request.num_tokens, config.source_vocab_size, "A source token is outside the vocabulary.");
  return {request.offsets, request.offsets + request.num_sources + 1};
}

void CheckOptions(const sub3_request& request, const sub3_result& result) {
  constexpr uint32_t kMaxBeamSize = 64;
  constexpr uint64_t kMaxSources = 1u << 16;
  Require(request.num_sources <= kMaxSources, "A request takes at most 65536 sources.");
  Require(request.beam_size >= 1 && request.beam_size <= kMaxBeamSize, "The beam size must be from 1 to 64.");
  Require(request.num_hypotheses >= 1 && request.num_hypotheses <= request.beam_size,
          "The number of hypotheses must be from 1 to the beam size.");
  Require(request.length_penalty >= 0 && request.length_penalty <= 10, "The length penalty must be from 0 to 10.");
  const uint64_t slots = request.num_sources * request.num_hypotheses;
  const uint32_t longest = *std::max_element(request.max_lengths, request.max_lengths + request.num_sources);
  Require(result.tokens != nullptr && result.lengths != nullptr && result.scores != nullptr &&
              result.num_slots == slots && result.max_length >= longest &&
              result.num_tokens == slots * result.max_length,
          "The result's arrays do not fit the request.");
}

void Translate(const sub3::Model& model, const sub3_request& request, sub3_result* result) {
  const sub3::Config& config = model.config;
  std::vector<size_t> offsets = CheckSources(config, request);
  CheckOptions(request, *result);
  const sub3::Context context{&sub3::ActiveIsa(), request.cancel};

  const Clock::time_point start = Clock::now();
  sub3::Workspace workspace;
  result->workspace_peak_bytes = 0;
  const sub3::Encoded encoded =
      sub3::Encode(model, context, request.tokens, std::move(offsets), &workspace, &result->workspace_peak_bytes);
  result->encode_seconds = SecondsSince(start);

  const Clock::time_point decode_start = Clock::now();
  const sub3::SearchOptions options{request.beam_size,
                                    request.length_penalty,
                                    request.min_length,
                                    {request.max_lengths, request.max_lengths + request.num_sources},
                                    config.target_vocab_size,
                                    config.decoder_start,
                                    config.eos};
  const size_t max_rows = request.num_sources * request.beam_size;
  const uint32_t longest = *std::max_element(options.max_lengths.begin(), options.max_lengths.end());
  sub3::Decoder decoder(model, context, encoded, max_rows, longest);
  float* logits = workspace.Allocate<float>(max_rows * config.target_vocab_size);
  const auto step = [&](const std::vector<sub3::StepRow>& rows, float* out) {
    decoder.Step(rows, out);
    for (size_t r = 0; r < rows.size(); ++r) {
      for (int32_t id : config.suppressed) {
        out[r * config.target_vocab_size + id] = -std::numeric_limits<float>::infinity();
      }
    }
  };
  const auto found = sub3::Search(options, *context.isa->float_ops, step, logits);

  for (uint64_t i = 0; i < request.num_sources; ++i) {
    for (uint32_t h = 0; h < request.num_hypotheses; ++h) {
      const uint64_t slot = i * request.num_hypotheses + h;
      result->lengths[slot] = -1;
      result->scores[slot] = 0;
      if (h >= found[i].size()) continue;
      const std::vector<int32_t>& ids = found[i][h].ids;
      std::copy(ids.begin(), ids.end(), result->tokens + slot * result->max_length);
      result->lengths[slot] = static_cast<int32_t>(ids.size());
      result->scores[slot] = found[i][h].score;
    }
  }
  result->decode_seconds = SecondsSince(decode_start);
  result->workspace_peak_bytes = std::max(result->workspace_peak_bytes, workspace.bytes() + decoder.workspace_bytes());
  result->kv_cache_peak_bytes = decoder.kv_cache_bytes();
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
  const sub3::Context context{&sub3::ActiveIsa(), nullptr};
  sub3::Workspace workspace;
  uint64_t peak_bytes = 0;
  const sub3::Encoded encoded = sub3::Encode(model, context, source, {0, source_length}, &workspace, &peak_bytes);
  sub3::Decoder decoder(model, context, encoded, 1, target_length);
  for (uint64_t t = 0; t < target_length; ++t) {
    decoder.Step({{target[t], t == 0 ? -1 : 0, 0}}, logits + t * config.target_vocab_size);
  }
}

}  // namespace

SUB3_EXPORT const char* sub3_last_error(void) { return last_error.c_str(); }

SUB3_EXPORT const char* sub3_isa(void) {
  const char* name = nullptr;
  Guard([&] { name = sub3::ActiveIsa().name; });
  return name;
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

SUB3_EXPORT int32_t sub3_translate(const sub3_model* model, const sub3_request* request, sub3_result* result) {
  return Guard([&] {
    Require(model != nullptr && request != nullptr && result != nullptr, "An argument is null.");
    Translate(model->model, *request, result);
  });
}

SUB3_EXPORT int32_t sub3_logits(const sub3_model* model, const int32_t* source, uint64_t source_length,
                                const int32_t* target, uint64_t target_length, float* logits, uint64_t num_logits) {
  return Guard([&] {
    Require(model != nullptr, "The model is null.");
    Logits(model->model, source, source_length, target, target_length, logits, num_logits);
  });
}

SUB3_EXPORT int32_t sub3_bcq_matmul(const char* isa, const sub3_tensor* tensors, uint64_t num_tensors,
                                    const sub3_segment* segments, uint64_t num_segments, uint64_t rows,
                                    uint64_t columns, const float* x, uint64_t n, float* y) {
  return Guard([&] {
    Require(x != nullptr && y != nullptr && columns >= 1 && columns <= sub3::kMaxColumns && rows >= 1,
            "The arrays must not be null, and columns must be from 1 to 131072.");
    sub3::TensorTable table(tensors, num_tensors, segments, num_segments);
    const sub3::BcqMatrix matrix = table.Matrix("m", rows, columns);
    const sub3::Isa& chosen = isa == nullptr ? sub3::ActiveIsa() : sub3::IsaByName(isa);
    sub3::Workspace workspace;
    void* scratch = workspace.Allocate<char>(sub3::BcqMatmulScratchBytes(columns));
    const sub3::Product product{&matrix, nullptr, y, rows};
    chosen.bcq_matmul(&product, 1, x, columns, columns, n, scratch);
  });
}
