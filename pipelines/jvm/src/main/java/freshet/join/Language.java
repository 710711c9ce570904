package freshet.join;

import dev.cel.bundle.Cel;
import dev.cel.bundle.CelEnvironmentException;
import dev.cel.bundle.CelEnvironmentYamlParser;
import dev.cel.bundle.CelFactory;
import dev.cel.common.CelAbstractSyntaxTree;
import dev.cel.common.CelOptions;
import dev.cel.common.CelValidationException;
import dev.cel.common.types.CelKind;
import dev.cel.parser.CelStandardMacro;
import dev.cel.runtime.CelEvaluationException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.EnumSet;
import java.util.Set;

/** The language of expressions: {@code pipelines/join/expressions.yaml}, which the Python engine reads as well. */
final class Language {
  private static final Set<CelKind> CONDITION = EnumSet.of(CelKind.BOOL, CelKind.DYN);
  private static final Set<CelKind> NUMBER = EnumSet.of(CelKind.DOUBLE, CelKind.INT, CelKind.DYN);
  private static final CelOptions OPTIONS =
      CelOptions.current()
          .enableHeterogeneousNumericComparisons(true)
          .maxParseRecursionDepth(32)
          // C++ gives up on the ten thousandth, Java behind it.
          .comprehensionMaxIterations(9_999)
          .build();
  /** It takes a second: a job without expressions does without. */
  private static final Cel LANGUAGE = read();

  private Language() {}

  private static Cel read() {
    try (InputStream language = Language.class.getResourceAsStream("expressions.yaml")) {
      Cel standard =
          CelFactory.standardCelBuilder().setOptions(OPTIONS).setStandardMacros(CelStandardMacro.STANDARD_MACROS).build();
      String yaml = new String(language.readAllBytes(), StandardCharsets.UTF_8);
      return CelEnvironmentYamlParser.newInstance().parse(yaml).extend(standard, OPTIONS);
    } catch (IOException | CelEnvironmentException failure) {
      throw new IllegalStateException("the language of expressions", failure);
    }
  }

  static Expression condition(String text) {
    return compile(text, CONDITION);
  }

  static Expression number(String text) {
    return compile(text, NUMBER);
  }

  private static Expression compile(String text, Set<CelKind> results) {
    try {
      CelAbstractSyntaxTree tree = LANGUAGE.compile(text).getAst();
      if (!results.contains(tree.getResultType().kind())) {
        throw new IllegalArgumentException("`" + text + "` is a " + tree.getResultType().name());
      }
      return new Expression(LANGUAGE.createProgram(tree));
    } catch (CelValidationException | CelEvaluationException problem) {
      throw new IllegalArgumentException("`" + text + "`: " + problem.getMessage(), problem);
    }
  }
}
