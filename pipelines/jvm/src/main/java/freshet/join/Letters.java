package freshet.join;

/** Writes dead letters that the producer takes, whatever they are about. */
final class Letters {
  /** What a message takes beside key, value and headers, and the names of the headers. */
  private static final int MARGIN_BYTES = 1024;

  private static final int DETAIL_CHARACTERS = 500;

  private final byte[] features;
  private final byte[] actions;
  private final int maxBytes;
  private final boolean isOfFiles;

  Letters(Settings settings) {
    features = Utf8.bytes(settings.kafka().features());
    actions = Utf8.bytes(settings.kafka().actions());
    maxBytes = settings.kafka().maxMessageBytes() - MARGIN_BYTES;
    isOfFiles = settings.joiner().input() != null && settings.joiner().input().isFiles();
  }

  /** The letter; without its value, or without key and value, where they are too long. */
  Message write(Output.DeadLetter letter) {
    Arrival arrival = letter.arrival();
    Message message = new Message();
    message.topic = arrival.isAction() ? actions : features;
    if (isOfFiles && arrival.key() != null) {
      message.topic = arrival.key();
      arrival = arrival.withoutKey();
    }
    message.partition = Utf8.bytes(Integer.toString(arrival.partition()));
    message.offset = Utf8.bytes(Long.toString(arrival.offset()));
    message.reason = Utf8.bytes(letter.reason());
    message.detail = Utf8.bytes(cut(letter.detail()));
    int roomBytes =
        maxBytes - message.topic.length - message.partition.length - message.offset.length - message.reason.length
            - message.detail.length;
    if (arrival.keyBytes() + arrival.valueBytes() <= roomBytes) {
      message.key = arrival.key();
      message.value = arrival.value();
    } else {
      leaveOut(message, arrival, roomBytes);
    }
    return message;
  }

  private static void leaveOut(Message message, Arrival arrival, int roomBytes) {
    String size = "; key and value left out: " + arrival.keyBytes() + " and " + arrival.valueBytes() + " bytes";
    if (arrival.key() != null && arrival.keyBytes() + size.length() <= roomBytes) {
      message.key = arrival.key();
      size = "; value left out: " + arrival.valueBytes() + " bytes";
    }
    Buffer detail = new Buffer(message.detail.length + size.length());
    detail.put(message.detail);
    detail.put(Utf8.bytes(size));
    message.detail = detail.toBytes();
  }

  private static String cut(String detail) {
    int characters = Math.min(DETAIL_CHARACTERS, detail.codePointCount(0, detail.length()));
    return detail.substring(0, detail.offsetByCodePoints(0, characters));
  }
}
