package freshet.join;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;

/** UTF-8 as bytes. */
final class Utf8 {
  private static final VarHandle WORD = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);
  private static final long NOT_ASCII = 0x8080_8080_8080_8080L;

  private Utf8() {}

  static byte[] bytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }

  static String text(byte[] data) {
    return new String(data, StandardCharsets.UTF_8);
  }

  /** Whether all of it is UTF-8: no half characters, no longer forms than needed. */
  static boolean isValid(byte[] data) {
    int at = 0;
    while (at < data.length) {
      if (at + Long.BYTES <= data.length && ((long) WORD.get(data, at) & NOT_ASCII) == 0) {
        at += Long.BYTES;
        continue;
      }
      int first = data[at];
      if (first >= 0) {
        at++;
        continue;
      }
      int length = lengthBehind(first & 0xFF);
      if (length < 2 || at + length > data.length || !isSecond(first & 0xFF, data[at + 1] & 0xFF)) {
        return false;
      }
      for (int more = at + 2; more < at + length; more++) {
        if (!isContinuation(data[more])) {
          return false;
        }
      }
      at += length;
    }
    return true;
  }

  private static int lengthBehind(int first) {
    if (first < 0xC2 || first > 0xF4) {
      return 0;
    }
    return first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  }

  private static boolean isSecond(int first, int second) {
    int lowest = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    int highest = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    return second >= lowest && second <= highest;
  }

  static boolean isContinuation(byte each) {
    return (each & 0xC0) == 0x80;
  }

  /** How many characters begin in a range; half a character of UTF-16 is none. */
  static int characters(byte[] data, int start, int end) {
    int count = 0;
    for (int at = start; at < end; at++) {
      if (!isContinuation(data[at])) {
        count++;
      }
    }
    return count;
  }
}
