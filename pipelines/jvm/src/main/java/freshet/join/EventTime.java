package freshet.join;

import java.math.BigInteger;

/** A time in an event: 64 bits, in ms. One that needs the 64th bit is far in the future, whatever it says. */
record EventTime(long ms, boolean isUnsigned) {

  static EventTime of(Json json, int node) {
    return new EventTime(json.bits(node), json.type(node) == Json.UINT);
  }

  boolean isBefore(long otherMs) {
    return !isUnsigned && ms < otherMs;
  }

  boolean isAfter(long otherMs) {
    return isUnsigned || ms > otherMs;
  }

  /** How far it is after another time. */
  BigInteger since(long otherMs) {
    BigInteger exact = isUnsigned ? new BigInteger(Long.toUnsignedString(ms)) : BigInteger.valueOf(ms);
    return exact.subtract(BigInteger.valueOf(otherMs));
  }
}
