package freshet.join;

import java.util.ArrayList;
import java.util.List;

/** What became ready together as messages of the topic {@code examples}, none longer than it has to be. */
final class Messages {
  private static final int MESSAGE_BYTES = 1 << 20;
  private static final int EXAMPLES = 0x0a;
  private static final int SAMPLED_AWAY = 0x10;
  private static final int UNLABELLED = 0x18;
  /** Both at most: a tag and 32 bits each. */
  private static final int NUMBERS_BYTES = 12;

  private final int roomBytes;
  private final Buffer buffer = new Buffer(1 << 12);

  Messages(Settings settings) {
    roomBytes = Math.min(MESSAGE_BYTES, settings.kafka().maxMessageBytes() / 2) - NUMBERS_BYTES;
  }

  List<Message> write(Output.Ready ready) {
    List<Message> messages = new ArrayList<>(1);
    byte[] key = Utf8.bytes(ready.requestId());
    buffer.clear();
    for (byte[] example : ready.examples()) {
      int bytes = 1 + Buffer.varintBytes(example.length) + example.length;
      if (buffer.size() > 0 && buffer.size() + bytes > roomBytes) {
        messages.add(message(key));
      }
      buffer.put(EXAMPLES);
      buffer.putVarint(example.length);
      buffer.put(example);
    }
    putNumber(SAMPLED_AWAY, ready.sampledAway());
    putNumber(UNLABELLED, ready.unlabelled());
    messages.add(message(key));
    return messages;
  }

  private Message message(byte[] key) {
    Message message = new Message();
    message.key = key;
    message.value = buffer.toBytes();
    buffer.clear();
    return message;
  }

  private void putNumber(int tag, int number) {
    if (number > 0) {
      buffer.put(tag);
      buffer.putVarint(number);
    }
  }
}
