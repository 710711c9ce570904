package freshet.join;

import java.math.BigDecimal;
import java.math.MathContext;
import java.math.RoundingMode;

/**
 * A double in the fewest digits that read as the same double: of those the nearest. The JDK's own text has more digits at
 * times, before version 19.
 */
final class Decimal {
  private static final int MOST_DIGITS = 17;

  /** Digits without trailing zeros. */
  private final String digits;
  /** Of 10, of a point before the digits. */
  private final int exponent;

  private final boolean isNegative;

  private Decimal(BigDecimal shortest, boolean isNegative) {
    BigDecimal bare = shortest.stripTrailingZeros();
    this.digits = bare.unscaledValue().toString();
    this.exponent = bare.signum() == 0 ? 1 : bare.precision() - bare.scale();
    this.isNegative = isNegative;
  }

  static Decimal of(double number) {
    boolean isNegative = Double.doubleToRawLongBits(number) < 0;
    double positive = Math.abs(number);
    BigDecimal exact = new BigDecimal(positive);
    for (int length = 1; length < MOST_DIGITS; length++) {
      BigDecimal down = exact.round(new MathContext(length, RoundingMode.DOWN));
      BigDecimal up = exact.round(new MathContext(length, RoundingMode.UP));
      BigDecimal nearest = exact.round(new MathContext(length, RoundingMode.HALF_EVEN));
      for (BigDecimal candidate : new BigDecimal[] {nearest, down, up}) {
        if (candidate.doubleValue() == positive) {
          return new Decimal(candidate, isNegative);
        }
      }
    }
    return new Decimal(exact.round(new MathContext(MOST_DIGITS, RoundingMode.HALF_EVEN)), isNegative);
  }

  /** A double as Python writes it. */
  static String python(double number) {
    if (Double.isFinite(number)) {
      return of(number).python();
    }
    return Double.isNaN(number) ? "nan" : number < 0 ? "-inf" : "inf";
  }

  /** As Python writes it. */
  String python() {
    String exponential = exponent - 1 < 0 ? "e-" : "e+";
    boolean isPlain = exponent > -4 && exponent <= 16;
    String power = exponential + (Math.abs(exponent - 1) < 10 ? "0" : "") + Math.abs(exponent - 1);
    return sign() + (isPlain ? plain() : mantissa() + power);
  }

  /** As orjson writes it. */
  String json() {
    boolean isPlain = exponent > -5 && exponent <= 16;
    return sign() + (isPlain ? plain() : mantissa() + (exponent > 0 ? "e+" : "e") + (exponent - 1));
  }

  private String sign() {
    return isNegative ? "-" : "";
  }

  private String mantissa() {
    return digits.length() == 1 ? digits : digits.charAt(0) + "." + digits.substring(1);
  }

  private String plain() {
    if (exponent <= 0) {
      return "0." + "0".repeat(-exponent) + digits;
    }
    if (exponent >= digits.length()) {
      return digits + "0".repeat(exponent - digits.length()) + ".0";
    }
    return digits.substring(0, exponent) + "." + digits.substring(exponent);
  }
}
