package freshet.join;

import java.util.Properties;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.sink.TransactionNamingStrategy;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.util.OutputTag;

/** The joiner as a Flink job without Python. {@code pipelines/topology.py} says what it is made of, and calls it. */
public final class OnlineJoin {
  private static final int LEAST_BUFFER_BYTES = 32 << 20;
  private static final TypeInformation<Message> MESSAGE = Types.POJO(Message.class);
  private static final OutputTag<Message> DEAD_LETTERS = new OutputTag<>("dead-letters", MESSAGE);

  private final Settings settings;

  private OnlineJoin(Settings settings) {
    this.settings = settings;
  }

  /** Adds sources, join and sinks to {@code env}; {@code settingsJson}: the job file, every default filled in. */
  public static void build(StreamExecutionEnvironment env, String settingsJson) {
    Settings settings = Settings.parse(settingsJson);
    OnlineJoin job = new OnlineJoin(settings);
    SingleOutputStreamOperator<Message> joined =
        new Inputs(env, settings, job.client())
            .read()
            .keyBy(KeyedArrival::id, Types.STRING)
            .process(new JoinFunction(settingsJson, DEAD_LETTERS), MESSAGE)
            .name("join")
            .uid("join");
    job.write(joined, "examples", settings.kafka().examples());
    job.write(joined.getSideOutput(DEAD_LETTERS), "dead_letters", settings.kafka().deadLetters());
  }

  private void write(DataStream<Message> messages, String name, String topic) {
    int maxMessageBytes = settings.kafka().maxMessageBytes();
    int bufferBytes = (int) Math.min(Integer.MAX_VALUE, Math.max(2L * maxMessageBytes, LEAST_BUFFER_BYTES));
    KafkaSink<Message> sink =
        KafkaSink.<Message>builder()
            .setKafkaProducerConfig(client())
            .setBootstrapServers(settings.kafka().bootstrap())
            .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
            .setTransactionalIdPrefix(settings.member() + "-" + name)
            // A few ids that are used again, instead of new ones with every checkpoint.
            .setTransactionNamingStrategy(TransactionNamingStrategy.POOLING)
            .setProperty("transaction.timeout.ms", Long.toString(settings.kafka().transactionTimeoutMs()))
            .setProperty("max.request.size", Integer.toString(maxMessageBytes))
            .setProperty("buffer.memory", Integer.toString(bufferBytes))
            .setRecordSerializer(new MessageWriter(topic))
            .build();
    messages.sinkTo(sink).name(name).uid(name);
  }

  private Properties client() {
    Properties properties = new Properties();
    properties.putAll(settings.kafka().client());
    return properties;
  }
}
