package freshet.join;

import java.util.List;
import java.util.Optional;
import org.apache.flink.connector.kafka.lineage.DefaultKafkaDatasetFacet;
import org.apache.flink.connector.kafka.lineage.DefaultKafkaDatasetIdentifier;
import org.apache.flink.connector.kafka.lineage.KafkaDatasetFacet;
import org.apache.flink.connector.kafka.lineage.KafkaDatasetFacetProvider;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.header.Headers;

/** Messages as records of one topic. It names its topic, for a sink with pooled transactions asks whose they are. */
final class MessageWriter implements KafkaRecordSerializationSchema<Message>, KafkaDatasetFacetProvider {
  private static final long serialVersionUID = 1L;

  private final String topic;

  MessageWriter(String topic) {
    this.topic = topic;
  }

  @Override
  public ProducerRecord<byte[], byte[]> serialize(Message message, KafkaSinkContext context, Long timestampMs) {
    ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, message.key, message.value);
    if (message.reason != null) {
      Headers headers = record.headers();
      headers.add("topic", message.topic);
      headers.add("partition", message.partition);
      headers.add("offset", message.offset);
      headers.add("reason", message.reason);
      headers.add("detail", message.detail);
    }
    return record;
  }

  @Override
  public Optional<KafkaDatasetFacet> getKafkaDatasetFacet() {
    return Optional.of(new DefaultKafkaDatasetFacet(DefaultKafkaDatasetIdentifier.ofTopics(List.of(topic))));
  }
}
