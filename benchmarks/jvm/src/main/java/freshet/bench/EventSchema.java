package freshet.bench;

import java.io.IOException;
import org.apache.flink.api.common.serialization.AbstractDeserializationSchema;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonFactory;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonParser;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonToken;

/** Reads request id and time, wherever in the event they stand; checks no more than it reads. */
public final class EventSchema extends AbstractDeserializationSchema<Event> {
  private static final long serialVersionUID = 1;
  private static final JsonFactory JSON = new JsonFactory();

  @Override
  public Event deserialize(byte[] value) throws IOException {
    String requestId = null;
    long tsMs = Long.MIN_VALUE;
    try (JsonParser parser = JSON.createParser(value)) {
      parser.nextToken();
      while ((requestId == null || tsMs == Long.MIN_VALUE)
          && parser.nextToken() == JsonToken.FIELD_NAME) {
        String name = parser.currentName();
        parser.nextToken();
        switch (name) {
          case "request_id" -> requestId = parser.getText();
          case "ts" -> tsMs = parser.getLongValue();
          default -> parser.skipChildren();
        }
      }
    }
    if (requestId == null || tsMs == Long.MIN_VALUE) {
      throw new IOException("an event without request_id or ts");
    }
    return new Event(requestId, tsMs, value);
  }
}
