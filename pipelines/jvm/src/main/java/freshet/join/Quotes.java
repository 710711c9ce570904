package freshet.join;

import java.util.LinkedHashMap;
import java.util.Map;

/** Values as the sentences of dead letters quote them: as Python writes them, at most 80 characters. */
final class Quotes {
  private static final int LENGTH = 80;
  /** Deeper than that nothing is written before the quote is full. */
  private static final int FULL_DEPTH = LENGTH;

  private Quotes() {}

  /** A value in quotes. */
  static String quote(Json json, int node) {
    return quote(text(json, node));
  }

  /** A text in quotes, cut off. */
  static String quote(String text) {
    StringBuilder out = new StringBuilder();
    int length = Math.min(text.codePointCount(0, text.length()), LENGTH);
    repr(text.substring(0, text.offsetByCodePoints(0, length)), out);
    return out.toString();
  }

  /** A value without quotes; of a long one the beginning. */
  static String text(Json json, int node) {
    if (json.isString(node)) {
      return json.text(node);
    }
    StringBuilder out = new StringBuilder();
    write(json, node, 0, out);
    return out.toString();
  }

  private static void write(Json json, int node, int depth, StringBuilder out) {
    switch (json.type(node)) {
      case Json.NULL -> out.append("None");
      case Json.TRUE -> out.append("True");
      case Json.FALSE -> out.append("False");
      case Json.INT -> out.append(json.bits(node));
      case Json.UINT -> out.append(Long.toUnsignedString(json.bits(node)));
      case Json.REAL -> out.append(Decimal.of(json.number(node)).python());
      case Json.ARRAY -> writeArray(json, node, depth, out);
      case Json.OBJECT -> writeObject(json, node, depth, out);
      default -> repr(json.text(node), out);
    }
  }

  private static boolean isFull(int depth, StringBuilder out) {
    // A character may be two in Java.
    return depth > FULL_DEPTH || out.length() > 2 * LENGTH;
  }

  private static void writeArray(Json json, int array, int depth, StringBuilder out) {
    out.append('[');
    for (int node = array + 1; node < json.next(array) && !isFull(depth, out); node = json.next(node)) {
      out.append(node == array + 1 ? "" : ", ");
      write(json, node, depth + 1, out);
    }
    out.append(']');
  }

  private static void writeObject(Json json, int object, int depth, StringBuilder out) {
    out.append('{');
    String separator = "";
    for (Map.Entry<String, Integer> member : members(json, object).entrySet()) {
      if (isFull(depth, out)) {
        break;
      }
      out.append(separator);
      repr(member.getKey(), out);
      out.append(": ");
      write(json, member.getValue(), depth + 1, out);
      separator = ", ";
    }
    out.append('}');
  }

  /** Each key once, where it stands first, with its last value. */
  static Map<String, Integer> members(Json json, int object) {
    Map<String, Integer> members = new LinkedHashMap<>();
    for (int node = object + 1; node < json.next(object); node = json.next(node + 1)) {
      members.put(json.text(node), node + 1);
    }
    return members;
  }

  private static void repr(String text, StringBuilder out) {
    char mark = text.indexOf('\'') >= 0 && text.indexOf('"') < 0 ? '"' : '\'';
    out.append(mark);
    text.codePoints().forEach(character -> repr(character, mark, out));
    out.append(mark);
  }

  private static void repr(int character, char mark, StringBuilder out) {
    switch (character) {
      case '\n' -> out.append("\\n");
      case '\r' -> out.append("\\r");
      case '\t' -> out.append("\\t");
      case '\\' -> out.append("\\\\");
      default -> {
        if (character == mark) {
          out.append('\\').append(mark);
        } else if (isPrintable(character)) {
          out.appendCodePoint(character);
        } else {
          String form = character < 0x100 ? "\\x%02x" : character < 0x10000 ? "\\u%04x" : "\\U%08x";
          out.append(String.format(form, character));
        }
      }
    }
  }

  private static boolean isPrintable(int character) {
    return switch (Character.getType(character)) {
      case Character.CONTROL, Character.FORMAT, Character.SURROGATE, Character.PRIVATE_USE, Character.UNASSIGNED,
          Character.LINE_SEPARATOR, Character.PARAGRAPH_SEPARATOR -> false;
      case Character.SPACE_SEPARATOR -> character == ' ';
      default -> true;
    };
  }
}
