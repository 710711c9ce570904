package freshet.join;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.function.LongSupplier;

/**
 * The rules of the join, without Flink, clock or I/O: {@code pipelines/join/logic.py} says what they are, and why. The
 * state of the one request at hand comes in and goes out with each step.
 */
final class JoinLogic {
  private static final int MAX_EARLY_ACTIONS = 256;
  private static final int MAX_EARLY_BYTES = 1 << 20;
  private static final State.ClosedLabel[] NOTHING = {};
  private static final Comparator<State.ClosedLabel> BY_ITEM =
      Comparator.comparing((State.ClosedLabel each) -> Utf8.bytes(each.itemId()), Arrays::compareUnsigned)
          .thenComparing(State.ClosedLabel::label, Integer::compareUnsigned);

  private final Labels labels;
  private final Sampler sampler;
  private final Rules rules;
  private final ExampleEncoder encoder;
  /** Null: none are drawn. */
  private final PoolNegatives pool;

  private final RequestReader requests;
  private final ActionReader actions = new ActionReader();

  /** {@code pool}: what was shown of late; null: the job has none. */
  JoinLogic(Settings settings, Schema schema, Pool pool) {
    labels = new Labels(settings.labels());
    rules = new Rules(labels.all());
    sampler = new Sampler(settings);
    encoder = new ExampleEncoder(settings, schema);
    this.pool = pool == null ? null : new PoolNegatives(settings, pool);
    requests = new RequestReader(schema);
  }

  /** A request has come. {@code watermarkMs}: no event up to then is expected any more. */
  Step onRequest(State state, Request request, Arrival arrival, long watermarkMs, long nowMs) {
    Step step = new Step(state);
    if (state instanceof State.Waiting || state instanceof State.Closed) {
      step.add(Count.DUPLICATES, 1);
    } else if (request.tsMs() + labels.longestMs() <= watermarkMs) {
      step.bury(arrival, "late", "all windows had closed " + (watermarkMs - request.tsMs()) + " ms after `ts`");
    } else {
      accept(step, request, arrival, nowMs);
      if (state instanceof State.Early early) {
        for (EarlyAction each : early.actions()) {
          react(step, request, read(each), each.arrival(), nowMs);
        }
      }
    }
    return step;
  }

  private void accept(Step step, Request request, Arrival arrival, long nowMs) {
    State.Waiting waiting = State.Waiting.of(request, arrival.value());
    step.become(waiting);
    step.wake(labels.nextMs(waiting));
    int[] impressions = request.distinct();
    step.add(Count.IMPRESSIONS, impressions.length);
    step.add(Count.DUPLICATES, request.items().length - impressions.length);
    if (pool != null) {
      pool.show(request, impressions, nowMs);
    }
  }

  /** An action has come. */
  Step onAction(State state, Action action, Arrival arrival, LongSupplier watermarkMs, long nowMs) {
    Step step = new Step(state);
    Labels.Using using = labels.of(action.action());
    if (using == null) {
      step.add(Count.UNUSED, 1);
    } else if (state instanceof State.Waiting waiting) {
      react(step, parse(waiting), action, arrival, nowMs);
    } else if (state instanceof State.Closed closed) {
      if (using.labels().stream().anyMatch(label -> closed.hasTaken(action.itemId(), label.id()))) {
        step.add(Count.DUPLICATES, 1);
      } else {
        step.bury(arrival, "late", "every window of its request had closed");
      }
    } else if (expiryMs(action) <= watermarkMs.getAsLong()) {
      step.bury(arrival, "late", "its window had closed, whatever its request");
    } else {
      keep(step, (State.Early) state, action, arrival);
    }
    return step;
  }

  /** Event time has reached a timer of this request. One that comes before its time leads to the next. */
  Step onTimer(State state, long timestampMs, long nowMs) {
    Step step = new Step(state);
    if (state instanceof State.Early early) {
      expire(step, early, timestampMs);
    } else if (state instanceof State.Waiting waiting) {
      close(step, waiting, timestampMs, nowMs);
    } else if (state instanceof State.Closed closed) {
      if (forgetMs(closed) <= timestampMs) {
        step.become(null);
      } else {
        step.wake(forgetMs(closed));
      }
    }
    return step;
  }

  private void react(Step step, Request request, Action action, Arrival arrival, long nowMs) {
    State.Waiting state = (State.Waiting) step.state();
    Labels.Using using = labels.of(action.action());
    int position = request.position(action.itemId());
    if (using == null) {
      step.add(Count.UNUSED, 1);
    } else if (position < 0) {
      step.bury(arrival, "orphan", "its request has no item " + Quotes.quote(action.itemId()));
    } else if (Math.abs(action.tsMs() - state.tsMs()) > using.reachMs()) {
      refuse(step, state, position, using.labels(), action, arrival, null);
    } else {
      Rules.Reading reading = rules.read(using.labels(), request, position, action);
      step.add(Count.RULE_ERRORS, reading.failures().size());
      if (reading.asked().isEmpty()) {
        step.add(Count.UNUSED, 1);
      } else if (!take(step, state, request, position, reading.votes(), action, arrival, nowMs)) {
        refuse(step, state, position, reading.asked(), action, arrival, reading.failure());
      }
    }
  }

  /** Offers an action to the labels of an item; whether any takes it. */
  private boolean take(
      Step step,
      State.Waiting state,
      Request request,
      int position,
      List<Rules.Vote> votes,
      Action action,
      Arrival arrival,
      long nowMs) {
    Sampler.Sample sample = sampler.of(request);
    Lesson lesson = new Lesson(position, labels.all().size());
    State.Waiting after = state;
    int takers = 0;
    for (Rules.Vote vote : votes) {
      Label label = vote.label();
      Taken offer = new Taken(position, label.id(), false, vote.value(), action.tsMs(), arrival.loggedTsMs());
      switch (label.fate(state, state.taken(position, label.id()), offer)) {
        case LEAVES -> {
          lesson.teach(label, offer, label.isClosed(state) && sample.isKept(position) ? label.otherwise() : null);
          takers++;
        }
        case WAITS -> {
          after = after.with(offer);
          takers++;
        }
        case NOTHING -> {}
      }
    }
    if (takers == 0) {
      return false;
    }
    after = lesson.after(after);
    // What it took the place of has come for nothing.
    step.add(Count.DUPLICATES, after.taken().length < state.taken().length + takers ? 1 : 0);
    step.become(after);
    if (!lesson.isEmpty()) {
      List<byte[]> examples = new ArrayList<>(1);
      examples.add(write(step, lesson, request, state, sample, nowMs));
      if (pool != null) {
        for (ExampleEncoder.Encoded drawn : pool.of(lesson, state, request, encoder, nowMs)) {
          examples.add(drawn.data());
          step.add(Count.POOLED, 1);
          step.add(Count.LEFT_OUT, drawn.leftOut());
        }
      }
      step.give(new Output.Ready(request.requestId(), examples, 0, 0));
    }
    return true;
  }

  private byte[] write(
      Step step, Lesson lesson, Request request, State.Waiting state, Sampler.Sample sample, long nowMs) {
    ExampleEncoder.Encoded example =
        encoder.encode(lesson, request, state, sample.rate(lesson.position()), nowMs);
    step.add(lesson.count(), 1);
    step.add(Count.LEFT_OUT, example.leftOut());
    return example.data();
  }

  /** An action that none of the labels it asked has taken; {@code failure} of a rule: null when none failed. */
  private static void refuse(
      Step step,
      State.Waiting state,
      int position,
      List<Label> asked,
      Action action,
      Arrival arrival,
      String failure) {
    if (asked.stream().anyMatch(label -> state.taken(position, label.id()) != null)) {
      step.add(Count.DUPLICATES, 1);
    } else if (failure != null) {
      step.bury(arrival, "rule", failure);
    } else if (action.tsMs() < state.tsMs()) {
      step.bury(arrival, "orphan", (state.tsMs() - action.tsMs()) + " ms before its request");
    } else {
      step.bury(arrival, "late", (action.tsMs() - state.tsMs()) + " ms after its request, after its window");
    }
  }

  /** Lets an action wait for its request. */
  private void keep(Step step, State.Early state, Action action, Arrival arrival) {
    List<EarlyAction> waiting = state == null ? List.of() : state.actions();
    List<Action> known = waiting.stream().map(this::read).toList();
    // Of two clicks on one item both wait: which of them is near enough, only the request can tell.
    if (known.stream().anyMatch(action::isSame)) {
      step.add(Count.DUPLICATES, 1);
    } else if (waiting.size() >= MAX_EARLY_ACTIONS
        || waiting.stream().mapToLong(EarlyAction::bytes).sum() > MAX_EARLY_BYTES) {
      step.bury(arrival, "orphan", waiting.size() + " actions wait for its request already");
    } else {
      List<EarlyAction> now = new ArrayList<>(waiting);
      now.add(EarlyAction.of(arrival));
      step.become(new State.Early(now));
      // One timer waits, for the first to give up.
      long expiryMs = expiryMs(action);
      if (known.stream().allMatch(each -> expiryMs < expiryMs(each))) {
        step.wake(expiryMs);
      }
    }
  }

  private void expire(Step step, State.Early state, long timestampMs) {
    List<EarlyAction> left = new ArrayList<>();
    long nextMs = Long.MAX_VALUE;
    for (EarlyAction each : state.actions()) {
      long expiryMs = expiryMs(read(each));
      if (expiryMs > timestampMs) {
        left.add(each);
        nextMs = Math.min(nextMs, expiryMs);
      } else {
        step.bury(each.arrival(), "orphan", "no request came for it before its window had passed");
      }
    }
    step.become(left.isEmpty() ? null : new State.Early(left));
    if (!left.isEmpty()) {
      step.wake(nextMs);
    }
  }

  private void close(Step step, State.Waiting waiting, long timestampMs, long nowMs) {
    boolean isLast = waiting.tsMs() + labels.longestMs() <= timestampMs;
    long[] momentsMs = labels.moments(waiting, timestampMs);
    if (momentsMs.length == 0 && !isLast) {
      // The job was changed since the timer was set: its windows end later now.
      step.wake(labels.nextMs(waiting));
      return;
    }
    Request request = parse(waiting);
    Sampler.Sample sample = sampler.of(request);
    List<byte[]> examples = new ArrayList<>();
    State.Waiting state = waiting;
    for (long momentMs : momentsMs) {
      state = state.closedThrough(state.tsMs() + momentMs);
      for (Lesson lesson : lessons(state, request, sample)) {
        examples.add(write(step, lesson, request, state, sample, nowMs));
        state = lesson.after(state);
      }
    }
    step.become(state);
    if (isLast) {
      end(step, state, request, sample, examples);
    } else {
      step.give(new Output.Ready(request.requestId(), examples, 0, 0));
      step.wake(labels.nextMs(state));
    }
  }

  /** What the moment that the state has come to teaches of all items. */
  private List<Lesson> lessons(State.Waiting state, Request request, Sampler.Sample sample) {
    long momentMs = state.closedThroughMs() - state.tsMs();
    List<Lesson> lessons = new ArrayList<>();
    List<Label> closing = labels.closingAt(momentMs);
    if (!closing.isEmpty()) {
      for (int position : request.distinct()) {
        addLessons(closing, state, position, sample.isKept(position), lessons);
      }
    }
    return lessons;
  }

  /** First what the windows brought, then, apart from it, what is late and would have come after. */
  private void addLessons(
      List<Label> closing, State.Waiting state, int position, boolean isKept, List<Lesson> lessons) {
    Lesson window = new Lesson(position, labels.all().size());
    Lesson late = new Lesson(position, labels.all().size());
    for (Label label : closing) {
      Taken taken = state.taken(position, label.id());
      if (taken == null || !taken.hasLeft()) {
        close(label, taken, state, window, late, isKept);
      }
    }
    if (!window.isEmpty()) {
      lessons.add(window);
    }
    if (!late.isEmpty()) {
      lessons.add(late);
    }
  }

  private static void close(
      Label label, Taken taken, State.Waiting state, Lesson window, Lesson late, boolean isKept) {
    if (taken != null && label.isInWindow(state, taken)) {
      window.teach(label, taken, null);
      return;
    }
    Float was = isKept ? label.otherwise() : null;
    if (was != null) {
      window.teachOtherwise(label);
    }
    if (taken != null) {
      late.teach(label, taken, was);
    }
  }

  /** Of a request whose last label has ended, only what it has taken is remembered. */
  private void end(Step step, State.Waiting state, Request request, Sampler.Sample sample, List<byte[]> examples) {
    int sampledAway = 0;
    int rest = 0;
    for (int position : request.distinct()) {
      if (!state.hasLeft(position)) {
        rest++;
        sampledAway += sample.isKept(position) ? 0 : 1;
      }
    }
    int unlabelled = labels.isSilent() ? rest - sampledAway : 0;
    step.give(new Output.Ready(request.requestId(), examples, sampledAway, unlabelled));
    State.Closed closed = new State.Closed(state.tsMs(), remembered(state, request));
    step.become(closed);
    step.wake(forgetMs(closed));
  }

  private static State.ClosedLabel[] remembered(State.Waiting state, Request request) {
    if (state.taken().length == 0) {
      return NOTHING;
    }
    return Arrays.stream(state.taken())
        .filter(Taken::hasLeft)
        .map(each -> new State.ClosedLabel(request.itemIds()[each.position()], each.label()))
        .sorted(BY_ITEM)
        .toArray(State.ClosedLabel[]::new);
  }

  private long expiryMs(Action action) {
    Labels.Using using = labels.of(action.action());
    return action.tsMs() + (using == null ? labels.longestMs() : using.reachMs());
  }

  private long forgetMs(State.Closed state) {
    // From then on, an action that happened within reach is late whatever is known of its request.
    return state.tsMs() + 2 * labels.longestMs();
  }

  private Request parse(State.Waiting state) {
    try {
      return requests.parse(state.value());
    } catch (MalformedEvent refusal) {
      throw new IllegalStateException("a request that had been accepted: " + refusal.detail(), refusal);
    }
  }

  private Action read(EarlyAction early) {
    try {
      return actions.read(early.value());
    } catch (MalformedEvent refusal) {
      throw new IllegalStateException("an action that had been accepted: " + refusal.detail(), refusal);
    }
  }
}
