package freshet.join;

/** An expression has no answer for the action at hand; a sentence. */
final class ExpressionFailure extends Exception {
  private static final long serialVersionUID = 1L;

  ExpressionFailure(String sentence) {
    super(sentence, null, false, false);
  }
}
