package freshet.join;

/** Checks one escape sequence of a string. */
final class JsonEscape {
  private static final String INVALID_SEQUENCE = "invalid escaped sequence in string";

  private final byte[] data;
  private final int start;

  JsonEscape(byte[] data, int backslash) {
    this.data = data;
    this.start = backslash;
  }

  /** Returns the byte behind it. */
  int check(JsonReader reader) throws JsonException {
    if (start + 1 < data.length && JsonEscapes.simple(data[start + 1]) != 0) {
      return start + 2;
    }
    String problem = problem();
    if (problem != null) {
      throw reader.problem(isCutShort() ? data.length : start, problem);
    }
    return isSurrogate(JsonEscapes.hex(data, start + 2)) ? start + 12 : start + 6;
  }

  private String problem() {
    int first = isUnicode(start) ? JsonEscapes.hex(data, start + 2) : -1;
    if (first < 0) {
      return INVALID_SEQUENCE;
    }
    if (!isSurrogate(first)) {
      return null;
    }
    if (first >= 0xDC00) {
      return "invalid high surrogate in string";
    }
    if (!isUnicode(start + 6)) {
      return "no low surrogate in string";
    }
    int second = JsonEscapes.hex(data, start + 8);
    if (second < 0) {
      return "invalid escape in string";
    }
    return second >= 0xDC00 && second < 0xE000 ? null : "invalid low surrogate in string";
  }

  private boolean isUnicode(int at) {
    return at + 1 < data.length && data[at] == '\\' && data[at + 1] == 'u';
  }

  private static boolean isSurrogate(int character) {
    return character >= 0xD800 && character < 0xE000;
  }

  /** Whether the data end in the midst of what might have become a sequence. */
  private boolean isCutShort() {
    int length = data.length - start;
    if (length == 1) {
      return true;
    }
    if (data[start + 1] != 'u' || length > 11) {
      return false;
    }
    if (length <= 5) {
      return areDigits(start + 2, data.length);
    }
    return (JsonEscapes.hex(data, start + 2) & 0xFFFF_F800) == 0xD800 && isStartOfLowSurrogate();
  }

  private boolean isStartOfLowSurrogate() {
    String[] allowed = {"\\", "u", "dD", "cdefCDEF", "0123456789abcdefABCDEF"};
    for (int at = start + 6; at < data.length; at++) {
      if (allowed[at - start - 6].indexOf(data[at]) < 0) {
        return false;
      }
    }
    return true;
  }

  private boolean areDigits(int from, int to) {
    for (int at = from; at < to; at++) {
      if (Character.digit(data[at], 16) < 0) {
        return false;
      }
    }
    return true;
  }
}
