using Hadal.Parallel.Serving;

namespace Hadal.Planning.Serving;

/// <summary>What the fullest GPU of a unit does in one step.</summary>
/// <param name="PromptTokens">Prompt tokens that it reads.</param>
/// <param name="PromptPairs">Pairs of prompt token and visible position: what core attention over prompts works on.</param>
/// <param name="AnswerTokens">Answers that get a token.</param>
/// <param name="AnswerPositions">Positions in the caches of those answers together.</param>
/// <param name="MeanTokens">Tokens of a GPU on average over the unit, which is what its experts get; null when all GPUs have as many.</param>
public readonly record struct StepWork(double PromptTokens, double PromptPairs, double AnswerTokens, double AnswerPositions, double? MeanTokens = null)
{
    /// <summary>Tokens of both kinds.</summary>
    public double Tokens => PromptTokens + AnswerTokens;
}

/// <summary>Rows and pairs for one token that a GPU dispatches, on average over GPUs, with the fullest one's excess beside.</summary>
/// <param name="Balance">Pairs of the fullest GPU over the mean.</param>
/// <param name="Between">Rows on the busiest port between nodes, for each token of a GPU.</param>
/// <param name="Inside">Rows on the busiest port inside a node, for each token of a GPU.</param>
public readonly record struct TrafficPerToken(double Balance, double Between, double Inside)
{
    /// <summary>From a count.</summary>
    /// <param name="traffic">A step's.</param>
    /// <param name="gpus">GPUs.</param>
    public static TrafficPerToken Of(UnitTraffic traffic, int gpus)
    {
        double tokens = (double)traffic.Tokens / gpus;
        return new(traffic.Balance, traffic.MostBetween / tokens, traffic.MostInside / tokens);
    }
}

/// <summary>Seconds of the parts of one layer for one of two micro-batches.</summary>
/// <param name="Before">Attention before its core: projections down and up.</param>
/// <param name="Core">Core attention, output projection, gate.</param>
/// <param name="Shared">Shared experts.</param>
/// <param name="Routed">Routed experts of the fullest GPU.</param>
/// <param name="Dispatch">Rows out.</param>
/// <param name="Combine">Rows back.</param>
public readonly record struct LayerParts(double Before, double Core, double Shared, double Routed, double Dispatch, double Combine)
{
    /// <summary>Two micro-batches in the published order of prefilling [inference overview, day 6]: the exchange of one beside the computation of the other, four stages.</summary>
    public double Prefilling => Math.Max(Before + Core + Shared, Combine) + Math.Max(Before + Core, Dispatch) + Math.Max(Routed, Dispatch) + Math.Max(Routed + Shared, Combine);

    /// <summary>Two micro-batches in the published order of decoding: attention in two parts, five stages each.</summary>
    public double Decoding => 2 * (Math.Max(Shared + Before, Dispatch) + Routed + Math.Max(Core, Combine));

    /// <summary>One after the other.</summary>
    public double Unhidden => 2 * (Before + Core + Shared + Routed + Dispatch + Combine);

    /// <summary>Seconds of the two micro-batches that grow with the fullest GPU's share.</summary>
    public double Waiting => 2 * Routed;
}

/// <summary>
/// Prices steps on the hardware's own limits: operations over its rate or bytes over its bandwidth, whichever is longer, part by part; rows over links; two micro-batches that hide each other's
/// exchange as published. Nothing is fitted.
/// </summary>
/// <param name="model">What is served.</param>
/// <param name="hardware">On what.</param>
/// <param name="slotsPerGpu">Experts of a GPU in each layer.</param>
public sealed class ServingCosts(ServingModel model, ServingHardware hardware, int slotsPerGpu)
{
    /// <summary>The hardware.</summary>
    public ServingHardware Hardware => hardware;

    /// <summary>The model.</summary>
    public ServingModel Model => model;

    /// <summary>Positions that caches of one GPU hold; negative where the weights do not fit.</summary>
    public double CachePositions => (hardware.UsableBytes - model.WeightBytes(slotsPerGpu)) / model.CacheBytes;

    /// <summary>One sparse layer, for one of two micro-batches: half of the step's work.</summary>
    /// <param name="work">Of the whole step.</param>
    /// <param name="traffic">Of the unit.</param>
    /// <param name="path">Prefilling's exchange takes multiprocessors from computing, decoding's none.</param>
    public LayerParts Parts(StepWork work, TrafficPerToken traffic, UnitPath path)
    {
        double tokens = work.Tokens / 2, pairs = (work.MeanTokens ?? work.Tokens) / 2 * model.Shape.Gate.TopK * traffic.Balance;
        double output = (double)model.Shape.Heads * model.Shape.ValueHeadDim * model.Shape.Hidden, before = model.AttentionWeights - output, gate = (double)model.Shape.Hidden * model.Shape.Gate.Experts;
        double latency = hardware.NetworkLatency;
        return new(
            Product(before, tokens, path), Core(work, path) / 2 + Product(output, tokens, path) + Product(gate, tokens, path, bytes: 2), Product(model.SharedWeights, tokens, path),
            RoutedSeconds(pairs, path),
            Link(tokens, traffic, model.OutBytes) + latency, Link(tokens, traffic, model.BackBytes) + latency);
    }

    /// <summary>Routed experts of a GPU in one layer, for so many pairs of token and expert.</summary>
    /// <param name="pairs">Of one micro-batch.</param>
    /// <param name="path">Prefilling's exchange takes multiprocessors from computing, decoding's none.</param>
    public double RoutedSeconds(double pairs, UnitPath path) =>
        Math.Max(2 * model.ExpertBytes * pairs / Rate(hardware.Fp8Flops, path), Math.Min(slotsPerGpu, pairs) * model.ExpertBytes / hardware.MemoryBandwidth);

    /// <summary>Seconds of a whole step.</summary>
    /// <inheritdoc cref="Parts"/>
    public double StepSeconds(StepWork work, TrafficPerToken traffic, UnitPath path)
    {
        if (work.Tokens == 0) return 0;
        LayerParts parts = Parts(work, traffic, path);
        int dense = model.Shape.Layers - model.SparseLayers;
        double outside = 2 * dense * (parts.Before + parts.Core + Product(model.DenseWeights, work.Tokens / 2, path));

        // The head speaks for every answer, and once for each prompt, of which a step ends few.
        double head = Product((double)model.Shape.Vocabulary * model.Shape.Hidden, Math.Max(1, work.AnswerTokens), path, bytes: 2);
        return (model.SparseLayers * (path == UnitPath.ThroughNodes ? parts.Prefilling : parts.Decoding)) + outside + head;
    }

    /// <summary>What a keeper of placements needs to know of the steps.</summary>
    public WaitingPrices Prices(StepWork work, TrafficPerToken traffic, UnitPath path) =>
        new(Parts(work, traffic with { Balance = 1 }, path).Waiting, 1 / StepSeconds(work, traffic, path));

    double Rate(double flops, UnitPath path) =>
        flops * hardware.ComputeEfficiency * (path == UnitPath.ThroughNodes ? 1 - ((double)hardware.Multiprocessors.Exchange / hardware.Multiprocessors.All) : 1);

    // Every weight is read once and used for every token.
    double Product(double weights, double tokens, UnitPath path, int bytes = 1) =>
        tokens <= 0 ? 0 : Math.Max(2 * weights * tokens / Rate(bytes == 1 ? hardware.Fp8Flops : hardware.Bf16Flops, path), weights * bytes / hardware.MemoryBandwidth);

    // Prompts in the expanded form, answers in the absorbed one, which reads each latent once for all heads.
    double Core(StepWork work, UnitPath path)
    {
        double prompts = 2.0 * model.Shape.Heads * (model.Shape.QkHeadDim + model.Shape.ValueHeadDim) * work.PromptPairs / Rate(hardware.Bf16Flops, path);
        double answers = Math.Max(2.0 * model.Shape.Heads * (model.Shape.LatentDim + model.Shape.KeyValueLoraRank) * work.AnswerPositions / Rate(hardware.Bf16Flops, path),
            2.0 * model.Shape.LatentDim * work.AnswerPositions / hardware.MemoryBandwidth);
        return prompts + answers;
    }

    double Link(double tokens, TrafficPerToken traffic, double bytes) =>
        Math.Max(traffic.Between * tokens * bytes / hardware.Links.BetweenNodes, traffic.Inside * tokens * bytes / hardware.Links.InsideNode);
}
