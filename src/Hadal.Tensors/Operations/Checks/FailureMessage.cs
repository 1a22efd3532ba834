using System.Runtime.CompilerServices;

namespace Hadal.Tensors.Operations.Checks;

/// <summary>The message of <see cref="Require.That"/>: put together only when the condition failed, so that a check costs no allocation.</summary>
[InterpolatedStringHandler]
ref struct FailureMessage
{
    DefaultInterpolatedStringHandler _text;

    public FailureMessage(int literalLength, int formattedCount, bool condition, out bool wanted)
    {
        wanted = !condition;
        _text = wanted ? new DefaultInterpolatedStringHandler(literalLength, formattedCount) : default;
    }

    public void AppendLiteral(string value) => _text.AppendLiteral(value);

    public void AppendFormatted<T>(T value) => _text.AppendFormatted(value);

    public string ToStringAndClear() => _text.ToStringAndClear();
}
