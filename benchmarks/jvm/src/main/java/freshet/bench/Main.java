package freshet.bench;

import java.time.Duration;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.serialization.SerializationSchema;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.sink.TransactionNamingStrategy;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.util.ParameterTool;

/** Submits the bare join: two topics of JSON in, one topic of JSON out, exactly once. */
public final class Main {
  private Main() {}

  /**
   * Arguments: name, bootstrap, features, actions, output (topics), window_s, out_of_order_s,
   * checkpoint_interval_ms, parallelism.
   */
  public static void main(String[] arguments) throws Exception {
    ParameterTool settings = ParameterTool.fromArgs(arguments);
    StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment();
    env.setParallelism(settings.getInt("parallelism"));
    env.enableCheckpointing(settings.getLong("checkpoint_interval_ms"));
    DataStream<Event> actions = events(env, settings, "actions");
    events(env, settings, "features")
        .keyBy(event -> event.requestId)
        .connect(actions.keyBy(event -> event.requestId))
        .process(
            new Join(settings.getLong("window_s") * 1000),
            PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO)
        .name("join")
        .uid("join")
        .sinkTo(sink(settings))
        .name("output")
        .uid("output");
    env.execute(settings.getRequired("name"));
  }

  private static DataStream<Event> events(
      StreamExecutionEnvironment env, ParameterTool settings, String topic) {
    KafkaSource<Event> source =
        KafkaSource.<Event>builder()
            .setBootstrapServers(settings.getRequired("bootstrap"))
            .setTopics(settings.getRequired(topic))
            .setGroupId(settings.getRequired("name"))
            .setStartingOffsets(OffsetsInitializer.earliest())
            .setProperty("isolation.level", "read_committed")
            .setValueOnlyDeserializer(new EventSchema())
            .build();
    WatermarkStrategy<Event> watermarks =
        WatermarkStrategy.<Event>forBoundedOutOfOrderness(
                Duration.ofSeconds(settings.getLong("out_of_order_s")))
            .withTimestampAssigner((event, loggedMs) -> event.tsMs)
            .withIdleness(Duration.ofSeconds(30));
    return env.fromSource(source, watermarks, topic).uid(topic);
  }

  private static KafkaSink<byte[]> sink(ParameterTool settings) {
    return KafkaSink.<byte[]>builder()
        .setBootstrapServers(settings.getRequired("bootstrap"))
        .setRecordSerializer(
            KafkaRecordSerializationSchema.<byte[]>builder()
                .setTopic(settings.getRequired("output"))
                .setValueSerializationSchema(new AsItIs())
                .build())
        .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
        .setTransactionalIdPrefix(settings.getRequired("name"))
        .setTransactionNamingStrategy(TransactionNamingStrategy.POOLING)
        .setProperty("transaction.timeout.ms", "900000")
        .build();
  }

  /** A class of its own: Flink can't see the types of a lambda. */
  private static final class AsItIs implements SerializationSchema<byte[]> {
    private static final long serialVersionUID = 1;

    @Override
    public byte[] serialize(byte[] value) {
      return value;
    }
  }
}
