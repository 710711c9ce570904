package freshet.join;

import java.util.ArrayList;
import java.util.List;

/** What an action makes of each label. */
final class Rules {
  /** A label that an action counts for, and what it makes of it. */
  record Vote(Label label, float value) {}

  /**
   * @param asked the labels whose rules accept the action, or fail
   * @param failures of rules, as sentences
   */
  record Reading(List<Vote> votes, List<Label> asked, List<String> failures) {

    /** Null: nothing fails. */
    String failure() {
      return failures.isEmpty() ? null : failures.get(0);
    }
  }

  /** By the index of the label; null: every action counts. */
  private final Expression[] when;

  /** Likewise; null: the value of the action. */
  private final Expression[] value;

  Rules(List<Label> labels) {
    when = new Expression[labels.size()];
    value = new Expression[labels.size()];
    for (Label label : labels) {
      when[label.index()] = label.when() == null ? null : Language.condition(label.when());
      value[label.index()] = label.value() == null ? null : Language.number(label.value());
    }
  }

  Reading read(List<Label> labels, Request request, int position, Action action) {
    Variables variables = new Variables(request, position, action);
    Reading reading = new Reading(new ArrayList<>(labels.size()), new ArrayList<>(labels.size()), new ArrayList<>(0));
    for (Label label : labels) {
      try {
        if (when[label.index()] == null || when[label.index()].holds(variables)) {
          reading.votes().add(new Vote(label, label.isNumber() ? number(label, variables, action) : 1.0f));
          reading.asked().add(label);
        }
      } catch (ExpressionFailure failure) {
        reading.failures().add("label `" + label.name() + "`: " + failure.getMessage());
        reading.asked().add(label);
      }
    }
    return reading;
  }

  private float number(Label label, Variables variables, Action action) throws ExpressionFailure {
    Expression expression = value[label.index()];
    double number = expression == null ? action.value() : expression.number(variables);
    if (!(Math.abs(number) <= Float.MAX_VALUE)) {
      throw new ExpressionFailure("`value` is " + Decimal.python(number) + ": examples hold 32-bit floats");
    }
    // -0 and 0 are one number, and must be the same bytes.
    return (float) number + 0.0f;
  }
}
