package freshet.join;

import java.io.IOException;
import org.apache.flink.api.common.serialization.DeserializationSchema.InitializationContext;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.flink.util.Collector;

/** Reads records of one topic: whose they are, and how far their time is believed. What else they say is left to the join. */
final class ArrivalReader implements KafkaRecordDeserializationSchema<KeyedArrival> {
  private static final long serialVersionUID = 1L;

  private final boolean isAction;
  private final int maxEventBytes;
  private final BelievedTime time;
  private transient Json json;

  ArrivalReader(boolean isAction, Settings settings) {
    this.isAction = isAction;
    Settings.Joiner joiner = settings.joiner();
    maxEventBytes = joiner.maxEventBytes();
    time = new BelievedTime(joiner.outOfOrderMs(), joiner.maxPastMs(), joiner.maxFutureMs());
  }

  @Override
  public void open(InitializationContext context) {
    json = new Json();
  }

  @Override
  public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<KeyedArrival> out) throws IOException {
    Arrival arrival =
        new Arrival(isAction, record.key(), record.value(), record.partition(), record.offset(), record.timestamp());
    out.collect(read(arrival, System.currentTimeMillis()));
  }

  KeyedArrival read(Arrival arrival, long nowMs) {
    boolean isRead = arrival.value() != null && arrival.value().length <= maxEventBytes && isObject(arrival.value());
    String id = isRead ? id() : null;
    long timeMs = isRead ? time.of(json.get(0, Fields.TS), json, isHeartbeat(), arrival.loggedTsMs(), nowMs) : KeyedArrival.NO_TIME;
    return new KeyedArrival(id == null ? "-" + arrival.offset() : id, arrival, timeMs);
  }

  private boolean isObject(byte[] value) {
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

  private boolean isHeartbeat() {
    if (isAction) {
      int action = json.get(0, Fields.ACTION);
      return json.type(action) == Json.STRING && json.start(action) == json.end(action);
    }
    int items = json.get(0, Fields.ITEMS);
    return json.type(items) == Json.ARRAY && json.length(items) == 0;
  }

  @Override
  public TypeInformation<KeyedArrival> getProducedType() {
    return ArrivalType.INFORMATION;
  }
}
