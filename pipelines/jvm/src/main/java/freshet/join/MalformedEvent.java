package freshet.join;

/** An event that can't be used: the reason of its dead letter, and a sentence. */
final class MalformedEvent extends Exception {
  private static final long serialVersionUID = 1L;

  private final String reason;

  MalformedEvent(String reason, String detail) {
    super(detail, null, false, false);
    this.reason = reason;
  }

  static MalformedEvent malformed(String detail) {
    return new MalformedEvent("malformed", detail);
  }

  String reason() {
    return reason;
  }

  String detail() {
    return getMessage();
  }
}
