package freshet.join;

import java.io.Serializable;

/** Whose an arrival is, and how far its time is believed. What else it says is left to the join. */
final class FirstLook implements Serializable {
  private static final long serialVersionUID = 1L;

  private final boolean isAction;
  private final int maxEventBytes;
  private final BelievedTime time;
  private transient Json json;

  FirstLook(boolean isAction, Settings settings) {
    this.isAction = isAction;
    Settings.Joiner joiner = settings.joiner();
    maxEventBytes = joiner.maxEventBytes();
    time = new BelievedTime(joiner.outOfOrderMs(), joiner.maxPastMs(), joiner.maxFutureMs());
  }

  private FirstLook(FirstLook other) {
    isAction = other.isAction;
    maxEventBytes = other.maxEventBytes;
    time = other.time;
  }

  /** For another thread: looking takes room, which is used again. */
  FirstLook copy() {
    return new FirstLook(this);
  }

  boolean isAction() {
    return isAction;
  }

  KeyedArrival at(Arrival arrival, long nowMs) {
    return at(arrival, nowMs, Long.MAX_VALUE);
  }

  /**
   * The same for a line of a file, whose event moves event time no further than {@code mostMs}. Without a time of its record
   * it counts as written at its own {@code ts}.
   */
  KeyedArrival at(Arrival arrival, long nowMs, long mostMs) {
    boolean isRead = arrival.value() != null && arrival.value().length <= maxEventBytes && isObject(arrival.value());
    String id = isRead ? id() : null;
    Arrival logged = arrival.loggedTsMs() == Arrival.NOT_LOGGED ? arrival.loggedAt(isRead ? tsMs() : 0) : arrival;
    long timeMs =
        isRead
            ? time.of(json.get(0, Fields.TS), json, isHeartbeat(), logged.loggedTsMs(), nowMs)
            : KeyedArrival.NO_TIME;
    return new KeyedArrival(id == null ? "-" + arrival.offset() : id, logged, timeMs, mostMs);
  }

  private boolean isObject(byte[] value) {
    if (json == null) {
      json = new Json();
    }
    try {
      return json.parse(value).type(0) == Json.OBJECT;
    } catch (JsonException notJson) {
      return false;
    }
  }

  private String id() {
    int node = json.get(0, Fields.REQUEST_ID);
    return json.isString(node) ? json.text(node) : null;
  }

  private long tsMs() {
    int node = json.get(0, Fields.TS);
    return json.type(node) == Json.INT ? json.bits(node) : 0;
  }

  private boolean isHeartbeat() {
    if (isAction) {
      int action = json.get(0, Fields.ACTION);
      return json.type(action) == Json.STRING && json.start(action) == json.end(action);
    }
    int items = json.get(0, Fields.ITEMS);
    return json.type(items) == Json.ARRAY && json.length(items) == 0;
  }
}
