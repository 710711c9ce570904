package freshet.join;

import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.flink.util.Collector;

/** Reads records of one topic. */
final class ArrivalReader implements KafkaRecordDeserializationSchema<KeyedArrival> {
  private static final long serialVersionUID = 1L;

  private final FirstLook look;

  ArrivalReader(FirstLook look) {
    this.look = look;
  }

  @Override
  public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<KeyedArrival> out) {
    Arrival arrival =
        new Arrival(
            look.isAction(), record.key(), record.value(), record.partition(), record.offset(), record.timestamp());
    out.collect(look.at(arrival, System.currentTimeMillis()));
  }

  @Override
  public TypeInformation<KeyedArrival> getProducedType() {
    return ArrivalType.INFORMATION;
  }
}
