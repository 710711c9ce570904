package freshet.join;

import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.common.TaskInfo;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.state.OperatorStateStore;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeutils.base.array.BytePrimitiveArraySerializer;
import org.apache.flink.metrics.Counter;
import org.apache.flink.metrics.Gauge;
import org.apache.flink.metrics.MetricGroup;
import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.streaming.api.TimerService;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.flink.util.OutputTag;

/** The join as a Flink operator: arrivals in, keyed state and timers, messages out. The rules are in {@link JoinLogic}. */
final class JoinFunction extends KeyedProcessFunction<String, KeyedArrival, Message> implements CheckpointedFunction {
  private static final long serialVersionUID = 1L;

  private final String settingsJson;
  private final OutputTag<Message> deadLetters;
  private transient Intake intake;
  private transient JoinLogic logic;
  private transient Messages messages;
  private transient Letters letters;
  private transient ValueState<byte[]> request;
  /** As it was read, of a waiting request; else 0. */
  private transient int waitingBytesBefore;
  private transient WaitingCounts waiting;
  private transient ListState<byte[]> waitingState;
  private transient SavedTimes savedTimes;
  private transient ListState<byte[]> savedTimesState;
  /** Flink shows it only with an element or a timer; null before the first. */
  private transient TimerService timers;
  private transient InputEnds ends;
  private transient ListState<byte[]> endsState;
  /** Null: the job has none. */
  private transient Pool pool;
  private transient ListState<byte[]> poolState;
  private transient Counter[] counters;

  JoinFunction(String settingsJson, OutputTag<Message> deadLetters) {
    this.settingsJson = settingsJson;
    this.deadLetters = deadLetters;
  }

  @Override
  public void initializeState(FunctionInitializationContext context) throws Exception {
    Settings.Joiner joiner = Settings.parse(settingsJson).joiner();
    pool = joiner.pool() == null ? null : new Pool(joiner.pool().size());
    ends = new InputEnds(joiner.outOfOrderMs());
    TaskInfo task = getRuntimeContext().getTaskInfo();
    int groups = task.getMaxNumberOfParallelSubtasks();
    waiting = new WaitingCounts(groups, task.getNumberOfParallelSubtasks(), task.getIndexOfThisSubtask());
    savedTimes = new SavedTimes(groups, task.getNumberOfParallelSubtasks(), task.getIndexOfThisSubtask());
    OperatorStateStore store = context.getOperatorStateStore();
    // Each subtask gets what all have saved, and takes that of its key groups; of the pool each gets a part.
    waitingState = store.getUnionListState(bytes("waiting"));
    savedTimesState = store.getUnionListState(bytes("event-times"));
    endsState = store.getUnionListState(bytes("ends"));
    poolState = store.getListState(bytes("pool"));
    for (byte[] counts : waitingState.get()) {
      waiting.restore(counts);
    }
    for (byte[] times : savedTimesState.get()) {
      savedTimes.restore(times);
    }
    for (byte[] known : endsState.get()) {
      ends.restore(known);
    }
    List<Pooled> items = new ArrayList<>();
    for (byte[] piece : poolState.get()) {
      items.addAll(PoolCodec.decode(piece));
    }
    if (pool != null) {
      pool.restore(items);
    }
  }

  private static ListStateDescriptor<byte[]> bytes(String name) {
    return new ListStateDescriptor<>(name, BytePrimitiveArraySerializer.INSTANCE);
  }

  @Override
  public void snapshotState(FunctionSnapshotContext context) throws Exception {
    waitingState.update(List.of(waiting.encode()));
    savedTimesState.update(List.of(savedTimes.encode(timers == null ? Long.MIN_VALUE : reachedMs())));
    endsState.update(List.of(ends.encode()));
    poolState.update(pool == null ? List.of() : PoolCodec.encode(pool.items()));
  }

  @Override
  public void open(OpenContext context) {
    Settings settings = Settings.parse(settingsJson);
    Schema schema = new Schema(settings);
    intake = new Intake(settings, schema);
    logic = new JoinLogic(settings, schema, pool);
    messages = new Messages(settings);
    letters = new Letters(settings);
    request =
        getRuntimeContext().getState(new ValueStateDescriptor<>("request", BytePrimitiveArraySerializer.INSTANCE));
    MetricGroup metrics = getRuntimeContext().getMetricGroup();
    counters = new Counter[Count.values().length];
    for (Count count : Count.values()) {
      counters[count.ordinal()] = metrics.counter(count.metric());
    }
    metrics.gauge("freshet_joiner_waiting_requests", (Gauge<Long>) waiting::requests);
    metrics.gauge("freshet_joiner_waiting_bytes", (Gauge<Long>) waiting::bytes);
    metrics.gauge("freshet_joiner_pool_items", (Gauge<Integer>) () -> pool == null ? 0 : pool.size());
  }

  @Override
  public void processElement(KeyedArrival keyed, Context context, Collector<Message> out) throws Exception {
    timers = context.timerService();
    if (keyed.end() != null) {
      ends.end(keyed.end());
      return;
    }
    Arrival arrival = keyed.arrival();
    long nowMs = System.currentTimeMillis();
    try {
      if (arrival.isAction()) {
        onAction(intake.readAction(arrival, nowMs), arrival, nowMs, context, out);
      } else {
        onRequest(intake.readRequest(arrival, nowMs), arrival, nowMs, context, out);
      }
    } catch (MalformedEvent refusal) {
      counters[Count.MALFORMED.ordinal()].inc();
      context.output(deadLetters, letters.write(new Output.DeadLetter(arrival, refusal.reason(), refusal.detail())));
    }
  }

  private void onAction(Action action, Arrival arrival, long nowMs, Context context, Collector<Message> out)
      throws Exception {
    // A heartbeat has done its work when the source read it.
    if (!action.isHeartbeat()) {
      State before = read();
      apply(before, logic.onAction(before, action, arrival, () -> eventTimeMs(context), nowMs), context, out);
    }
  }

  private void onRequest(Request event, Arrival arrival, long nowMs, Context context, Collector<Message> out)
      throws Exception {
    if (event.items().length > 0) {
      State before = read();
      apply(before, logic.onRequest(before, event, arrival, eventTimeMs(context), nowMs), context, out);
    }
  }

  private long eventTimeMs(Context context) {
    return savedTimes.eventTimeMs(context.getCurrentKey(), reachedMs());
  }

  /** Since the start of this process. */
  private long reachedMs() {
    return ends.timeMs(timers.currentWatermark());
  }

  @Override
  public void onTimer(long timestampMs, OnTimerContext context, Collector<Message> out) throws Exception {
    timers = context.timerService();
    // When bounded inputs end, timers fire whose time has not come: what waits goes on waiting.
    if (timestampMs <= reachedMs()) {
      State before = read();
      apply(before, logic.onTimer(before, timestampMs, System.currentTimeMillis()), context, out);
    }
  }

  private State read() throws Exception {
    byte[] data = request.value();
    State state = data == null ? null : StateCodec.decode(data);
    waitingBytesBefore = state instanceof State.Waiting ? data.length : 0;
    return state;
  }

  private void apply(State before, Step step, Context context, Collector<Message> out) throws Exception {
    if (step.state() != before) {
      update(step.state(), context.getCurrentKey());
    }
    if (step.timerMs() != Step.NO_TIMER) {
      context.timerService().registerEventTimeTimer(step.timerMs());
    }
    step.countInto(counters);
    for (Output output : step.output()) {
      if (output instanceof Output.Ready ready) {
        messages.write(ready).forEach(out::collect);
      } else {
        context.output(deadLetters, letters.write((Output.DeadLetter) output));
      }
    }
  }

  private void update(State state, String key) throws Exception {
    byte[] data = state == null ? null : StateCodec.encode(state);
    if (data == null) {
      request.clear();
    } else {
      request.update(data);
    }
    waiting.change(key, waitingBytesBefore, state instanceof State.Waiting ? data.length : 0);
  }
}
