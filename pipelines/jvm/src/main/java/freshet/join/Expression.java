package freshet.join;

import dev.cel.runtime.CelEvaluationException;
import dev.cel.runtime.CelRuntime;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** One compiled expression, of a condition or a number. */
final class Expression {
  private final CelRuntime.Program program;

  Expression(CelRuntime.Program program) {
    this.program = program;
  }

  boolean holds(Variables variables) throws ExpressionFailure {
    Object result = evaluate(variables);
    if (result instanceof Boolean condition) {
      return condition;
    }
    throw new ExpressionFailure("its result is a " + type(result) + ", not a boolean");
  }

  double number(Variables variables) throws ExpressionFailure {
    Object result = evaluate(variables);
    if (result instanceof Double || result instanceof Long) {
      return ((Number) result).doubleValue();
    }
    throw new ExpressionFailure("its result is a " + type(result) + ", not a number");
  }

  private Object evaluate(Variables variables) throws ExpressionFailure {
    try {
      return program.eval(variables);
    } catch (CelEvaluationException | RuntimeException failure) {
      // Whatever the evaluator makes of an event must not fail the job at every restart.
      throw new ExpressionFailure(failure.getMessage());
    }
  }

  /** As the language calls it. */
  private static String type(Object result) {
    if (result instanceof Map) {
      return "map";
    }
    if (result instanceof List) {
      return "list";
    }
    String name = result.getClass().getSimpleName();
    return switch (name) {
      case "Boolean" -> "bool";
      case "Long" -> "int";
      case "NullValue" -> "null_type";
      default -> name.toLowerCase(Locale.ROOT);
    };
  }
}
