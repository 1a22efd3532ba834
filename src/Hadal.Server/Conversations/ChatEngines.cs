using Hadal.Inference.Serving;

namespace Hadal.Server.Conversations;

/// <summary>The engines of the chat's two modes; one engine may serve both.</summary>
/// <param name="Plain">Answers at once (V3's template).</param>
/// <param name="Thinking">Thinks first (R1's template): DeepThink (R1).</param>
public sealed record ChatEngines(IInferenceEngine Plain, IInferenceEngine Thinking)
{
    internal IInferenceEngine For(bool deepThink) => deepThink ? Thinking : Plain;
}
