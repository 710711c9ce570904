package freshet.join;

/** Escape sequences of JSON strings that have been checked. */
final class JsonEscapes {
  private JsonEscapes() {}

  /** Writes what stands in a string as UTF-8 and returns its length. */
  static int undo(byte[] data, int start, int end, byte[] out) {
    int length = 0;
    for (int at = start; at < end; at++) {
      if (data[at] != '\\') {
        out[length++] = data[at];
      } else if (data[++at] != 'u') {
        out[length++] = simple(data[at]);
      } else {
        int character = hex(data, at + 1);
        at += 4;
        if (character >= 0xD800 && character < 0xE000) {
          character = Character.toCodePoint((char) character, (char) hex(data, at + 3));
          at += 6;
        }
        length = put(character, out, length);
      }
    }
    return length;
  }

  /** What a letter behind a backslash stands for; 0: it is none. */
  static byte simple(byte letter) {
    return switch (letter) {
      case '"', '\\', '/' -> letter;
      case 'b' -> '\b';
      case 'f' -> '\f';
      case 'n' -> '\n';
      case 'r' -> '\r';
      case 't' -> '\t';
      default -> 0;
    };
  }

  /** Four digits as a number; -1: they are not. */
  static int hex(byte[] data, int at) {
    int number = 0;
    for (int digit = at; digit < at + 4; digit++) {
      number = number << 4 | (digit < data.length ? Character.digit(data[digit], 16) : -1);
    }
    return number;
  }

  private static int put(int character, byte[] out, int at) {
    if (character < 0x80) {
      out[at++] = (byte) character;
    } else if (character < 0x800) {
      out[at++] = (byte) (0xC0 | character >> 6);
      out[at++] = (byte) (0x80 | character & 0x3F);
    } else if (character < 0x10000) {
      out[at++] = (byte) (0xE0 | character >> 12);
      out[at++] = (byte) (0x80 | character >> 6 & 0x3F);
      out[at++] = (byte) (0x80 | character & 0x3F);
    } else {
      out[at++] = (byte) (0xF0 | character >> 18);
      out[at++] = (byte) (0x80 | character >> 12 & 0x3F);
      out[at++] = (byte) (0x80 | character >> 6 & 0x3F);
      out[at++] = (byte) (0x80 | character & 0x3F);
    }
    return at;
  }
}
