package freshet.join;

import java.nio.charset.StandardCharsets;

/** Reads one number. */
final class JsonNumber {
  private static final double[] POWERS = {
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22
  };
  private static final long EXACT = 1L << 53;
  private static final int SAFE_DIGITS = 18;

  private final byte[] data;
  private final int start;
  private int at;
  private boolean isNegative;
  private long mantissa;
  private int digits;

  JsonNumber(byte[] data, int start) {
    this.data = data;
    this.start = start;
    this.at = start;
  }

  /** Adds it to the document and returns the byte behind it. */
  int read(JsonReader reader) throws JsonException {
    if (data[at] == '-') {
      isNegative = true;
      at++;
    }
    if (!isDigit()) {
      throw reader.problem(at, "no digit after sign");
    }
    int first = at;
    readDigits();
    if (data[first] == '0' && at > first + 1) {
      throw reader.problem(first, "number with leading zero is not allowed");
    }
    if (at < data.length && (data[at] == '.' || (data[at] | 0x20) == 'e')) {
      real(reader);
    } else {
      integer(reader);
    }
    return at;
  }

  private void integer(JsonReader reader) throws JsonException {
    if (digits <= SAFE_DIGITS) {
      reader.add(Json.INT, isNegative ? -mantissa : mantissa);
      return;
    }
    // Up to twenty digits may still be one of 64 bits; to look at more would take time that grows by their square.
    if (digits > 20) {
      addParsed(reader);
      return;
    }
    java.math.BigInteger exact = new java.math.BigInteger(text());
    if (exact.bitLength() < 64) {
      reader.add(Json.INT, exact.longValue());
    } else if (!isNegative && exact.bitLength() == 64) {
      reader.add(Json.UINT, exact.longValue());
    } else {
      addParsed(reader);
    }
  }

  private void real(JsonReader reader) throws JsonException {
    int fraction = 0;
    if (data[at] == '.') {
      at++;
      fraction = -at;
      if (!isDigit()) {
        throw reader.problem(at, "no digit after decimal point");
      }
      readDigits();
      fraction += at;
    }
    int exponent = 0;
    if (at < data.length && (data[at] | 0x20) == 'e') {
      at++;
      boolean isDown = at < data.length && data[at] == '-';
      if (isDown || at < data.length && data[at] == '+') {
        at++;
      }
      if (!isDigit()) {
        throw reader.problem(at, "no digit after exponent sign");
      }
      for (; isDigit(); at++) {
        exponent = Math.min(exponent * 10 + data[at] - '0', 10_000);
      }
      exponent = isDown ? -exponent : exponent;
    }
    int scale = exponent - fraction;
    // Both are exact as doubles then, so that one operation rounds once.
    if (digits <= SAFE_DIGITS && mantissa <= EXACT && Math.abs(scale) < POWERS.length) {
      double exact = scale < 0 ? mantissa / POWERS[-scale] : mantissa * POWERS[scale];
      reader.add(Json.REAL, Double.doubleToRawLongBits(isNegative ? -exact : exact));
    } else {
      addParsed(reader);
    }
  }

  private void addParsed(JsonReader reader) throws JsonException {
    double parsed = Double.parseDouble(text());
    if (Double.isInfinite(parsed)) {
      throw reader.problem(start, "number is infinity when parsed as double");
    }
    reader.add(Json.REAL, Double.doubleToRawLongBits(parsed));
  }

  private void readDigits() {
    int first = at;
    int place = first;
    long number = mantissa;
    for (; place < data.length && data[place] >= '0' && data[place] <= '9'; place++) {
      if (digits + place - first < SAFE_DIGITS) {
        number = number * 10 + data[place] - '0';
      }
    }
    digits += place - first;
    mantissa = number;
    at = place;
  }

  private boolean isDigit() {
    return at < data.length && data[at] >= '0' && data[at] <= '9';
  }

  private String text() {
    return new String(data, start, at - start, StandardCharsets.ISO_8859_1);
  }
}
