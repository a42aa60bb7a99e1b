#include "kernels/network/transformer.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <variant>

#include "kernels/products/bcq_int8_matmul.h"

namespace sub3 {

namespace {

constexpr size_t kFfnRows = kInt8Columns;  // encoder rows at a time: bounds the inner activations

constexpr size_t kPartRows = 64;  // parts of a matrix begin at multiples of this, so that no tile of rows is split

constexpr size_t kMinPartWork = 20'000;  // multiply-adds; smaller parts finish before a helper could start

// Scratch memory for products of n columns, and at least attention_bytes for attention.
Scratch MakeScratch(const Model& model, const Context& context, size_t n, size_t attention_bytes,
                    Workspace* workspace) {
  const Config& config = model.config;
  const size_t widest = std::max({config.d_model, config.encoder_ffn_dim, config.decoder_ffn_dim});
  const size_t bytes =
      std::max({BcqMatmulScratchBytes(widest, n), BcqInt8MatmulScratchBytes(widest, n), attention_bytes});
  const size_t parts = context.pool->MaxWidth(), part_bytes = (bytes + 63) / 64 * 64;
  return {workspace->Allocate<char>(parts * part_bytes), part_bytes, parts, std::min(parts, context.pool->Width())};
}

// Calls body(part, parts, scratch of the part) for all parts of a loop of `work` multiply-adds: as many parts as the
// pool has threads, if each has enough work.
template <typename Body>
void ForParts(const Context& context, const Scratch& scratch, size_t work, const Body& body) {
  const size_t parts = std::min(scratch.width, std::max<size_t>(work / kMinPartWork, 1));
  context.pool->ForParts(parts, [&](size_t part) { body(part, parts, scratch.Of(part)); });
}

void Embed(const Model& model, const Isa& isa, const BcqMatrix& embedding, int32_t token, size_t position, float* out) {
  const size_t d = model.config.d_model;
  isa.dequantize_row(embedding, static_cast<size_t>(token), out);
  for (size_t i = 0; i < d; ++i) out[i] *= model.config.embedding_scale;
  model.positions.Add(position, out);
}

// One residual block around `body`: post-norm x = norm(x + body(x)) or pre-norm x = x + body(norm(x)). `delta` receives
// the output of body.
template <typename Body>
void Residual(const Model& model, const FloatOps& ops, const LayerNorm& norm, size_t n, float* x, float* normed,
              float* delta, Body body) {
  const size_t d = model.config.d_model;
  const auto normalize = [&](float* from, float* to) {
    for (size_t i = 0; i < n; ++i) {
      ops.layer_norm(from + i * d, norm.gain, norm.bias, model.config.norm_epsilon, d, to + i * d);
    }
  };
  if (model.config.pre_norm) {
    normalize(x, normed);
    body(normed, delta);
    ops.add(x, delta, n * d);
  } else {
    body(x, delta);
    ops.add(x, delta, n * d);
    normalize(x, x);
  }
}

struct Output {
  const Linear* linear;
  float* y;  // [n, rows]
};

// The row where part `part` of `parts` begins, a multiple of kPartRows. The cost of a row is its number of planes; in
// the int8 GEMM all rows cost the same.
size_t PartBegin(const Linear& linear, size_t part, size_t parts) {
  const size_t rows = linear.weight.rows;
  if (part == parts) return rows;
  const auto cost = [&](const BcqSegment& segment) { return linear.int8 ? 1 : static_cast<size_t>(segment.planes); };
  size_t before = 0;
  for (const BcqSegment& segment : linear.weight.segments) before += (segment.end - segment.begin) * cost(segment);
  before = before * part / parts;
  for (const BcqSegment& segment : linear.weight.segments) {
    const size_t whole = (segment.end - segment.begin) * cost(segment);
    if (before < whole) return (segment.begin + before / cost(segment)) / kPartRows * kPartRows;
    before -= whole;
  }
  return rows;
}

// Applies linear layers to the same input x[n, columns], which is quantised once for each kind of product and part.
void Apply(const Context& context, std::initializer_list<Output> outputs, const float* x, size_t n,
           const Scratch& scratch) {
  const size_t columns = outputs.begin()->linear->weight.columns;
  size_t rows = 0;
  for (const Output& output : outputs) rows += output.linear->weight.rows;
  ForParts(context, scratch, n * columns * rows, [&](size_t part, size_t parts, void* own) {
    constexpr size_t kMost = 3;
    Product products[kMost], int8_products[kMost];
    size_t count = 0, int8_count = 0;
    for (const Output& output : outputs) {
      const Linear& linear = *output.linear;
      (linear.int8 ? int8_products[int8_count++] : products[count++]) = Product{&linear.weight,
                                                                                linear.bias,
                                                                                output.y,
                                                                                linear.weight.rows,
                                                                                PartBegin(linear, part, parts),
                                                                                PartBegin(linear, part + 1, parts)};
    }
    if (count > 0) context.isa->bcq_matmul(products, count, x, columns, columns, n, own);
    if (int8_count > 0) context.isa->bcq_int8_matmul(int8_products, int8_count, x, columns, columns, n, own);
  });
}

void FeedForwardBlock(const Model& model, const Context& context, const FeedForward& ffn, const float* x, size_t n,
                      float* inner, float* y, const Scratch& scratch) {
  Apply(context, {{&ffn.inner, inner}}, x, n, scratch);
  context.isa->float_ops->activate(model.config.activation, inner, n * ffn.inner.weight.rows);
  Apply(context, {{&ffn.outer, y}}, inner, n, scratch);
}

// Splits the heads of all sentences (or rows) into parts and calls body(sentence, begin, end) for the heads of one
// part.
template <typename Body>
void ForHeads(size_t sentences, size_t heads, size_t part, size_t parts, const Body& body) {
  const size_t end = sentences * heads * (part + 1) / parts;
  for (size_t head = sentences * heads * part / parts; head < end;) {
    const size_t sentence = head / heads, last = std::min(end, (sentence + 1) * heads);
    body(sentence, head - sentence * heads, last - sentence * heads);
    head = last;
  }
}

float AttentionScale(size_t d_model, size_t heads) {
  const size_t head_dim = d_model / heads;
  return 1.0f / std::sqrt(static_cast<float>(head_dim));
}

const Linear& OutputOf(const Model& model, const DecoderState& sentence) {
  return sentence.output ? *sentence.output : model.output;
}

// The slots of the positions of a sentence's row: [length].
uint32_t* HistoryOf(const DecoderState& sentence, size_t row) { return sentence.history + row * sentence.max_length; }

// The keys (part 0) or values (part 1) of layer l in a slot of a sentence.
float* Slot(const DecoderState& sentence, size_t l, size_t part, size_t slot, size_t d) {
  constexpr size_t kSlots = DecoderState::kSlotsPerPage;
  return sentence.pages[slot / kSlots] + ((2 * l + part) * kSlots + slot % kSlots) * d;
}

}  // namespace

Encoded Encode(const Model& model, const Context& context, const int32_t* tokens, std::vector<size_t> offsets,
               Workspace* states) {
  const Config& config = model.config;
  const FloatOps& ops = *context.isa->float_ops;
  const size_t d = config.d_model, n = offsets.back(), heads = config.encoder_heads;
  size_t longest = 0;
  for (size_t s = 0; s + 1 < offsets.size(); ++s) longest = std::max(longest, offsets[s + 1] - offsets[s]);

  Workspace workspace;
  float* x = states->Allocate<float>(n * d);
  float* normed = workspace.Allocate<float>(n * d);
  float* q = workspace.Allocate<float>(n * d);
  float* k = workspace.Allocate<float>(n * d);
  float* v = workspace.Allocate<float>(n * d);
  float* attended = workspace.Allocate<float>(n * d);
  float* delta = k;  // unused after attention
  float* inner = workspace.Allocate<float>(std::min(n, kFfnRows) * config.encoder_ffn_dim);
  const Scratch scratch =
      MakeScratch(model, context, n, AttendAllScratch(longest, d / heads) * sizeof(float), &workspace);

  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    for (size_t t = offsets[s]; t < offsets[s + 1]; ++t) {
      Embed(model, *context.isa, model.source_embedding, tokens[t], t - offsets[s], x + t * d);
    }
  }
  for (const EncoderLayer& layer : model.encoder) {
    context.ThrowIfCancelled();
    const Attention& attention = layer.self_attention;
    Residual(model, ops, attention.norm, n, x, normed, delta, [&](const float* input, float* out) {
      Apply(context, {{&attention.query, q}, {&attention.key, k}, {&attention.value, v}}, input, n, scratch);
      ForParts(context, scratch, n * longest * d, [&](size_t part, size_t parts, void* own) {
        ForHeads(offsets.size() - 1, heads, part, parts, [&](size_t s, size_t begin, size_t end) {
          const size_t first = offsets[s] * d;
          ops.attend_all(q + first, k + first, v + first, offsets[s + 1] - offsets[s], d, {begin, end, d / heads},
                         AttentionScale(d, heads), static_cast<float*>(own), attended + first);
        });
      });
      Apply(context, {{&attention.output, out}}, attended, n, scratch);
    });
    Residual(model, ops, layer.ffn.norm, n, x, normed, delta, [&](const float* input, float* out) {
      for (size_t i = 0; i < n; i += kFfnRows) {
        FeedForwardBlock(model, context, layer.ffn, input + i * d, std::min(kFfnRows, n - i), inner, out + i * d,
                         scratch);
      }
    });
  }
  if (config.pre_norm) {
    for (size_t i = 0; i < n; ++i) {
      ops.layer_norm(x + i * d, model.encoder_norm.gain, model.encoder_norm.bias, config.norm_epsilon, d, x + i * d);
    }
  }
  return {x, std::move(offsets), workspace.bytes() + states->bytes()};
}

DecoderState::DecoderState(const Model& model, size_t source_length, size_t max_rows, size_t max_length,
                           uint32_t alignment_layer)
    : source_length(source_length), max_rows(max_rows), max_length(max_length), alignment_layer(alignment_layer) {
  if (model.config.ssru) {
    const size_t floats = model.decoder.size() * max_rows * model.config.d_model;
    recurrent = kv_cache.Allocate<float>(floats);
    previous_recurrent = kv_cache.Allocate<float>(floats);
    std::fill_n(recurrent, floats, 0.0f);  // what the first step continues
  } else {
    history = workspace.Allocate<uint32_t>(max_rows * max_length);
    previous_history = workspace.Allocate<uint32_t>(max_rows * max_length);
  }
}

void DecoderState::Shortlist(const Linear& whole, const std::vector<int32_t>& candidates) {
  output = Linear{GatherRows(whole.weight, candidates, &workspace), GatherEntries(whole.bias, candidates, &workspace)};
}

// Pointers to the keys and values that a row attends to, and the scores.
struct Decoder::AttentionScratch {
  float* scores;       // [AttendScratch(longest_)]
  const float** keys;  // [longest_]
  const float** values;

  AttentionScratch(void* scratch, size_t longest)
      : scores(static_cast<float*>(scratch)),
        keys(reinterpret_cast<const float**>(scores + AttendScratch(longest))),
        values(keys + longest) {}

  static size_t Bytes(size_t longest) {
    return AttendScratch(longest) * sizeof(float) + 2 * longest * sizeof(const float*);
  }

  void FindSlots(const DecoderState& sentence, size_t l, const uint32_t* history, size_t d) {
    for (size_t t = 0; t < sentence.length; ++t) {
      keys[t] = Slot(sentence, l, 0, history[t], d);
      values[t] = Slot(sentence, l, 1, history[t], d);
    }
  }

  void FindSource(const DecoderState& sentence, size_t l, size_t d) {
    for (size_t t = 0; t < sentence.source_length; ++t) {
      keys[t] = sentence.encoder_keys[l] + t * d;
      values[t] = sentence.encoder_values[l] + t * d;
    }
  }
};

void Decoder::Join(const Encoded& encoded, const std::vector<DecoderState*>& sentences) const {
  const size_t d = model_.config.d_model, n = encoded.tokens();
  Workspace workspace;
  float* keys = workspace.Allocate<float>(n * d);
  float* values = workspace.Allocate<float>(n * d);
  const Scratch scratch = MakeScratch(model_, context_, n, 0, &workspace);
  for (const DecoderLayer& layer : model_.decoder) {
    context_.ThrowIfCancelled();
    Apply(context_, {{&layer.encoder_attention.key, keys}, {&layer.encoder_attention.value, values}}, encoded.states, n,
          scratch);
    for (size_t s = 0; s < sentences.size(); ++s) {
      DecoderState& sentence = *sentences[s];
      const size_t first = encoded.offsets[s] * d, size = sentence.source_length * d;
      sentence.encoder_keys.push_back(sentence.kv_cache.Allocate<float>(size));
      sentence.encoder_values.push_back(sentence.kv_cache.Allocate<float>(size));
      std::copy_n(keys + first, size, sentence.encoder_keys.back());
      std::copy_n(values + first, size, sentence.encoder_values.back());
    }
  }
}

void Decoder::Reserve(size_t max_rows, size_t longest) {
  const bool fits = max_rows <= max_rows_ && longest <= longest_;
  const bool spare = 2 * max_rows < max_rows_ || 2 * longest < longest_;
  if (fits && !spare) return;
  workspace_ = Workspace();
  max_rows_ = max_rows, longest_ = longest;
  if (max_rows == 0) return;
  const Config& config = model_.config;
  for (float** array : {&x_, &normed_, &q_, &k_, &v_, &attended_, &projected_}) {
    *array = workspace_.Allocate<float>(max_rows * config.d_model);
  }
  inner_ = workspace_.Allocate<float>(max_rows * config.decoder_ffn_dim);
  scratch_ = MakeScratch(model_, context_, max_rows, AttentionScratch::Bytes(longest), &workspace_);
}

// Moves each sentence to its next position and gives each row a slot and, for self-attention, its history.
void Decoder::Advance(const std::vector<StepRow>& rows) {
  constexpr size_t kSlots = DecoderState::kSlotsPerPage;
  const bool attends = !model_.config.ssru;
  const size_t page_floats = model_.decoder.size() * 2 * kSlots * model_.config.d_model;
  places_.clear();
  for (size_t r = 0, of_sentence = 0; r < rows.size(); ++r, ++of_sentence) {
    DecoderState& sentence = *rows[r].sentence;
    if (r == 0 || rows[r - 1].sentence != &sentence) {
      of_sentence = 0;
      std::swap(sentence.history, sentence.previous_history);
      std::swap(sentence.recurrent, sentence.previous_recurrent);
      ++sentence.length;
    }
    const size_t slot = sentence.num_slots;
    if (slot % kSlots == 0) {
      if (attends) sentence.pages.push_back(sentence.kv_cache.Allocate<float>(page_floats));
      if (sentence.alignment_layer > 0) {
        sentence.alignments.push_back(sentence.kv_cache.Allocate<float>(kSlots * sentence.source_length));
      }
    }
    if (attends) {
      uint32_t* history = HistoryOf(sentence, of_sentence);
      std::copy_n(sentence.previous_history + rows[r].parent * sentence.max_length, sentence.length - 1, history);
      history[sentence.length - 1] = static_cast<uint32_t>(slot);
    }
    ++sentence.num_slots;
    places_.push_back({of_sentence, slot});
  }
}

void Decoder::Recur(const Ssru& ssru, size_t l, const std::vector<StepRow>& rows) {
  const size_t d = model_.config.d_model, n = rows.size();
  const FloatOps& ops = *context_.isa->float_ops;
  Residual(model_, ops, ssru.norm, n, x_, normed_, projected_, [&](const float* input, float* out) {
    Apply(context_, {{&ssru.forget, q_}, {&ssru.candidate, k_}}, input, n, scratch_);
    for (size_t r = 0; r < n; ++r) {
      const DecoderState& sentence = *rows[r].sentence;
      const float* previous = sentence.previous_recurrent + (l * sentence.max_rows + rows[r].parent) * d;
      float* state = sentence.recurrent + (l * sentence.max_rows + places_[r].row) * d;
      ops.ssru(q_ + r * d, k_ + r * d, previous, d, state, out + r * d);
    }
  });
}

void Decoder::SelfAttention(const Attention& attention, size_t l, const std::vector<StepRow>& rows) {
  const size_t d = model_.config.d_model, heads = model_.config.decoder_heads, n = rows.size();
  const FloatOps& ops = *context_.isa->float_ops;
  Residual(model_, ops, attention.norm, n, x_, normed_, projected_, [&](const float* input, float* out) {
    Apply(context_, {{&attention.query, q_}, {&attention.key, k_}, {&attention.value, v_}}, input, n, scratch_);
    size_t work = 0;
    for (size_t r = 0; r < n; ++r) {
      const DecoderState& sentence = *rows[r].sentence;
      std::copy_n(k_ + r * d, d, Slot(sentence, l, 0, places_[r].slot, d));
      std::copy_n(v_ + r * d, d, Slot(sentence, l, 1, places_[r].slot, d));
      work += 2 * sentence.length * d;
    }
    ForParts(context_, scratch_, work, [&](size_t part, size_t parts, void* scratch) {
      AttentionScratch attended(scratch, longest_);
      ForHeads(n, heads, part, parts, [&](size_t r, size_t begin, size_t end) {
        const DecoderState& sentence = *rows[r].sentence;
        attended.FindSlots(sentence, l, HistoryOf(sentence, places_[r].row), d);
        ops.attend(q_ + r * d, attended.keys, attended.values, sentence.length, {begin, end, d / heads},
                   AttentionScale(d, heads), attended.scores, attended_ + r * d);
      });
    });
    Apply(context_, {{&attention.output, out}}, attended_, n, scratch_);
  });
}

// Cross-attention of a row, head by head; weights [source_length] receives the mean of the heads' weights.
void Decoder::AttendAligned(const DecoderState& sentence, size_t l, size_t row, float* weights) {
  const size_t d = model_.config.d_model, heads = model_.config.decoder_heads;
  AttentionScratch attended(scratch_.Of(0), longest_);
  attended.FindSource(sentence, l, d);
  std::fill_n(weights, sentence.source_length, 0.0f);
  for (size_t h = 0; h < heads; ++h) {
    context_.isa->float_ops->attend(q_ + row * d, attended.keys, attended.values, sentence.source_length,
                                    {h, h + 1, d / heads}, AttentionScale(d, heads), attended.scores,
                                    attended_ + row * d);
    for (size_t t = 0; t < sentence.source_length; ++t) {
      weights[t] += attended.scores[t] / static_cast<float>(heads);
    }
  }
}

void Decoder::EncoderAttention(const DecoderLayer& layer, size_t l, const std::vector<StepRow>& rows) {
  const size_t d = model_.config.d_model, heads = model_.config.decoder_heads, n = rows.size();
  const FloatOps& ops = *context_.isa->float_ops;
  const Attention& attention = layer.encoder_attention;
  const auto aligned = [&](size_t r) { return rows[r].sentence->alignment_layer == l + 1; };
  Residual(model_, ops, attention.norm, n, x_, normed_, projected_, [&](const float* input, float* out) {
    Apply(context_, {{&attention.query, q_}}, input, n, scratch_);
    size_t work = 0;
    for (size_t r = 0; r < n; ++r) work += aligned(r) ? 0 : 2 * rows[r].sentence->source_length * d;
    ForParts(context_, scratch_, work, [&](size_t part, size_t parts, void* scratch) {
      AttentionScratch attended(scratch, longest_);
      ForHeads(n, heads, part, parts, [&](size_t r, size_t begin, size_t end) {
        if (aligned(r)) return;
        const DecoderState& sentence = *rows[r].sentence;
        attended.FindSource(sentence, l, d);
        ops.attend(q_ + r * d, attended.keys, attended.values, sentence.source_length, {begin, end, d / heads},
                   AttentionScale(d, heads), attended.scores, attended_ + r * d);
      });
    });
    for (size_t r = 0; r < n; ++r) {
      const DecoderState& sentence = *rows[r].sentence;
      if (aligned(r)) AttendAligned(sentence, l, r, sentence.alignment(places_[r].slot));
    }
    Apply(context_, {{&attention.output, out}}, attended_, n, scratch_);
  });
}

void Decoder::Step(const std::vector<StepRow>& rows, float* logits) {
  context_.ThrowIfCancelled();
  const Config& config = model_.config;
  const FloatOps& ops = *context_.isa->float_ops;
  const size_t d = config.d_model, n = rows.size();

  scratch_.width = std::min(scratch_.parts, context_.pool->Width());
  Advance(rows);
  for (size_t r = 0; r < n; ++r) {
    Embed(model_, *context_.isa, model_.target_embedding, rows[r].token, rows[r].sentence->length - 1, x_ + r * d);
  }
  for (size_t l = 0; l < model_.decoder.size(); ++l) {
    const DecoderLayer& layer = model_.decoder[l];
    if (const Ssru* ssru = std::get_if<Ssru>(&layer.past)) {
      Recur(*ssru, l, rows);
    } else {
      SelfAttention(std::get<Attention>(layer.past), l, rows);
    }
    EncoderAttention(layer, l, rows);
    Residual(model_, ops, layer.ffn.norm, n, x_, normed_, projected_, [&](const float* input, float* out) {
      FeedForwardBlock(model_, context_, layer.ffn, input, n, inner_, out, scratch_);
    });
  }
  if (config.pre_norm) {
    for (size_t r = 0; r < n; ++r) {
      ops.layer_norm(x_ + r * d, model_.decoder_norm.gain, model_.decoder_norm.bias, config.norm_epsilon, d,
                     x_ + r * d);
    }
  }
  // One product for neighbours that share the output layer: all rows of a sentence, and of all without a shortlist.
  for (size_t r = 0, end = 0; r < n; r = end) {
    const Linear& output = OutputOf(model_, *rows[r].sentence);
    while (end < n && &OutputOf(model_, *rows[end].sentence) == &output) ++end;
    Apply(context_, {{&output, logits}}, x_ + r * d, end - r, scratch_);
    logits += (end - r) * output.weight.rows;
  }
}

}  // namespace sub3
