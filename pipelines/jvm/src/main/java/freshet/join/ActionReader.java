package freshet.join;

/** Reads events of {@code actions}. */
final class ActionReader {
  private final Json json = new Json();

  Action read(byte[] value) throws MalformedEvent {
    Fields.parse(json, value);
    EventTime ts = Fields.time(json);
    String action = Fields.string(json, Fields.ACTION);
    if (action.isEmpty()) {
      return new Action("", "", "", 0.0, ts);
    }
    int node = json.find(0, Fields.VALUE);
    double number = node == Json.ABSENT ? 1.0 : Fields.number("value", json, node);
    return new Action(Fields.requestId(json), Fields.itemId(json, 0, -1), action, number, ts);
  }
}
