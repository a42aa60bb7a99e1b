#include "kernels/words.h"

#include <functional>
#include <limits>
#include <stdexcept>
#include <utility>

namespace sub3 {

namespace {

constexpr int kMostDigits = 18;  // of a count, so that it fits 64 bits

// A JSON document, read from the left. Each function reads one thing, after white space; it says whether that was
// there.
class JsonReader {
 public:
  explicit JsonReader(std::string_view text) : text_(text) {}

  bool AtEnd() {
    SkipSpace();
    return place_ == text_.size();
  }

  bool Read(std::string_view token) {
    SkipSpace();
    if (text_.substr(place_, token.size()) != token) return false;
    place_ += token.size();
    return true;
  }

  bool ReadNumber(int64_t* number) {
    SkipSpace();
    const size_t begin = place_;
    *number = 0;
    while (place_ < text_.size() && '0' <= text_[place_] && text_[place_] <= '9' && place_ - begin < kMostDigits) {
      *number = *number * 10 + (text_[place_++] - '0');
    }
    return place_ > begin && (text_[begin] != '0' || place_ == begin + 1);
  }

  // Appends the string's UTF-8.
  bool ReadString(std::string* out) {
    if (!Read("\"")) return false;
    for (;;) {
      const size_t begin = place_;
      while (place_ < text_.size() && text_[place_] != '"' && text_[place_] != '\\' && !IsControl(text_[place_])) {
        ++place_;
      }
      out->append(text_, begin, place_ - begin);
      if (place_ == text_.size() || IsControl(text_[place_])) return false;
      if (text_[place_++] == '"') return true;
      if (!ReadEscape(out)) return false;
    }
  }

 private:
  static bool IsControl(char c) { return static_cast<unsigned char>(c) < ' '; }

  void SkipSpace() {
    while (place_ < text_.size() && std::string_view(" \t\n\r").find(text_[place_]) != std::string_view::npos) ++place_;
  }

  // What follows a backslash.
  bool ReadEscape(std::string* out) {
    if (place_ == text_.size()) return false;
    static constexpr std::string_view kNames = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
    const char name = text_[place_++];
    if (const size_t known = kNames.find(name); known != std::string_view::npos) {
      out->push_back(kMeanings[known]);
      return true;
    }
    uint32_t unit = 0, low = 0;
    if (name != 'u' || !ReadUnit(&unit)) return false;
    if (unit < 0xD800 || unit > 0xDFFF) {
      AppendUtf8(unit, out);
      return true;
    }
    const bool is_pair = unit <= 0xDBFF && text_.substr(place_, 2) == "\\u";
    place_ += 2;
    if (!is_pair || !ReadUnit(&low) || low < 0xDC00 || low > 0xDFFF) return false;
    AppendUtf8(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00), out);
    return true;
  }

  // Four hexadecimal digits.
  bool ReadUnit(uint32_t* unit) {
    for (int i = 0; i < 4; ++i, ++place_) {
      if (place_ >= text_.size()) return false;
      const char c = text_[place_];
      const char lower = static_cast<char>(c | 0x20);
      if ('0' <= c && c <= '9') {
        *unit = *unit * 16 + static_cast<uint32_t>(c - '0');
      } else if ('a' <= lower && lower <= 'f') {
        *unit = *unit * 16 + static_cast<uint32_t>(lower - 'a' + 10);
      } else {
        return false;
      }
    }
    return true;
  }

  static void AppendUtf8(uint32_t code_point, std::string* out) {
    const auto rest = [&](int shift) { return static_cast<char>(0x80 | (code_point >> shift & 0x3F)); };
    if (code_point < 0x80) {
      out->push_back(static_cast<char>(code_point));
    } else if (code_point < 0x800) {
      out->append({static_cast<char>(0xC0 | code_point >> 6), rest(0)});
    } else if (code_point < 0x10000) {
      out->append({static_cast<char>(0xE0 | code_point >> 12), rest(6), rest(0)});
    } else {
      out->append({static_cast<char>(0xF0 | code_point >> 18), rest(12), rest(6), rest(0)});
    }
  }

  std::string_view text_;
  size_t place_ = 0;
};

// A piece as an error's sentence has it, which ends at a byte of 0.
std::string Quoted(std::string_view piece) {
  std::string quoted = "'";
  for (const char c : piece) quoted.push_back(static_cast<unsigned char>(c) < ' ' ? '?' : c);
  return quoted + "'";
}

// One side's list; nothing if it is not one.
std::optional<Words> ReadSide(JsonReader& json) {
  WordRows rows;
  if (!json.Read("[")) return std::nullopt;
  do {
    int64_t count;
    if (!json.Read("[") || !json.ReadString(&rows.text) || !json.Read(",") || !json.ReadNumber(&count) ||
        !json.Read("]")) {
      return std::nullopt;
    }
    rows.offsets.push_back(static_cast<uint32_t>(rows.text.size()));
    rows.counts.push_back(count);
  } while (json.Read(","));
  if (!json.Read("]")) return std::nullopt;
  rows.text.shrink_to_fit();
  rows.offsets.shrink_to_fit();
  rows.counts.shrink_to_fit();
  return Words(std::move(rows));
}

}  // namespace

Words::Words(WordRows rows) : rows_(std::move(rows)) {
  size_t num_slots = 1;
  while (num_slots < 2 * size()) num_slots *= 2;
  slots_.resize(num_slots);
  for (size_t row = 0; row < size(); ++row) {
    const std::string_view piece = Piece(row);
    if (rows_.counts[row] < 0) throw std::invalid_argument("the count of " + Quoted(piece) + " is negative");
    uint32_t& slot = slots_[SlotOf(piece)];
    if (slot != 0) throw std::invalid_argument("the piece " + Quoted(piece) + " occurs twice");
    slot = static_cast<uint32_t>(row + 1);
  }
}

std::string_view Words::Piece(size_t row) const {
  return std::string_view(rows_.text).substr(rows_.offsets[row], rows_.offsets[row + 1] - rows_.offsets[row]);
}

std::optional<size_t> Words::Find(std::string_view piece) const {
  const uint32_t slot = slots_[SlotOf(piece)];
  if (slot == 0) return std::nullopt;
  return slot - 1;
}

// That of the piece, or the empty one where it would stand. There is always an empty one unless there are no words.
size_t Words::SlotOf(std::string_view piece) const {
  const size_t mask = slots_.size() - 1;
  size_t place = std::hash<std::string_view>()(piece) & mask;
  while (slots_[place] != 0 && Piece(slots_[place] - 1) != piece) place = (place + 1) & mask;
  return place;
}

std::optional<ScannedVocabulary> ScanVocabulary(std::string_view text) {
  if (text.size() > std::numeric_limits<uint32_t>::max()) return std::nullopt;
  JsonReader json(text);
  ScannedVocabulary found;
  if (!json.Read("{") || !json.Read("\"source\"") || !json.Read(":") || !(found.source = ReadSide(json)) ||
      !json.Read(",") || !json.Read("\"target\"") || !json.Read(":")) {
    return std::nullopt;
  }
  if (!json.Read("null") && !(found.target = ReadSide(json))) return std::nullopt;
  if (!json.Read("}") || !json.AtEnd()) return std::nullopt;
  return found;
}

}  // namespace sub3
