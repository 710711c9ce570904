package freshet.join;

import java.nio.charset.StandardCharsets;

/**
 * How long values are as JSON without spaces, as orjson writes it: the measure of what examples repeat.
 *
 * <p>What is nested more deeply than orjson writes is refused.
 */
final class JsonLength {
  static final int MAX_DEPTH = 254;
  /** No value is longer than so many times what it was read from: {@code 1e15} becomes {@code 1000000000000000.0}. */
  static final long GROWTH = 8;

  private JsonLength() {}

  /** Bytes of a value that stands in so many containers. */
  static long of(Json json, int node, int depth) throws MalformedEvent {
    return switch (json.type(node)) {
      case Json.NULL, Json.TRUE -> 4;
      case Json.FALSE -> 5;
      case Json.INT -> Long.toString(json.bits(node)).length();
      case Json.UINT -> Long.toUnsignedString(json.bits(node)).length();
      case Json.REAL -> Decimal.of(json.number(node)).json().length();
      case Json.ARRAY -> ofArray(json, node, deeper(depth));
      case Json.OBJECT -> ofObject(json, node, deeper(depth));
      default -> ofText(json.utf8(node));
    };
  }

  private static int deeper(int depth) throws MalformedEvent {
    if (depth == MAX_DEPTH) {
      throw MalformedEvent.malformed("`user`, `context` or an item is nested too deeply");
    }
    return depth + 1;
  }

  private static long ofArray(Json json, int array, int depth) throws MalformedEvent {
    long length = Math.max(2, json.length(array) + 1);
    for (int node = array + 1; node < json.next(array); node = json.next(node)) {
      length += of(json, node, depth);
    }
    return length;
  }

  private static long ofObject(Json json, int object, int depth) throws MalformedEvent {
    long length = 1;
    for (var member : Quotes.members(json, object).entrySet()) {
      byte[] key = member.getKey().getBytes(StandardCharsets.UTF_8);
      length += ofText(key) + of(json, member.getValue(), depth) + 2;
    }
    return Math.max(2, length);
  }

  static long ofText(byte[] text) {
    long length = 2;
    for (byte each : text) {
      if (each >= 0 && each < ' ') {
        length += "\b\t\n\f\r".indexOf(each) >= 0 ? 2 : 6;
      } else {
        length += each == '"' || each == '\\' ? 2 : 1;
      }
    }
    return length;
  }
}
