package freshet.join;

/** One event of {@code actions}. With an empty {@code action} it is a heartbeat. */
record Action(String requestId, String itemId, String action, double value, EventTime ts) {

  boolean isHeartbeat() {
    return action.isEmpty();
  }

  /** Whether it says the same, whatever the spelling of numbers. */
  boolean isSame(Action other) {
    return value == other.value
        && ts.equals(other.ts)
        && requestId.equals(other.requestId)
        && itemId.equals(other.itemId)
        && action.equals(other.action);
  }

  long tsMs() {
    return ts.ms();
  }
}
