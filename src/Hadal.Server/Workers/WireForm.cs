using System.Runtime.InteropServices;
using Google.Protobuf;
using Hadal.Inference;
using Hadal.Inference.Serving;
using Hadal.Inference.Serving.Workers;

namespace Hadal.Server.Workers;

/// <summary>Requests, events and statistics to messages and back. Nothing is rounded or cut on the way; what cannot be is refused.</summary>
static class WireForm
{
    /// <summary>Bytes of a part of pages or of a file.</summary>
    public const int PartBytes = 1 << 20;

    /// <summary>A request as a message.</summary>
    public static Wire.Work Of(WorkerRequest work)
    {
        GenerationRequest request = work.Request;
        var message = new Wire.Work
        {
            MaxNewTokens = request.MaxNewTokens,
            Temperature = request.Sampling.Temperature,
            TopP = request.Sampling.TopP,
            Seed = request.Sampling.Seed,
            FrequencyPenalty = request.FrequencyPenalty,
            PresencePenalty = request.PresencePenalty,
            Form = (int)request.Form,
            IgnoreEndTokens = request.IgnoreEndTokens,
            Owner = request.Owner,
        };
        message.Prompt.AddRange(MemoryMarshal.ToEnumerable(request.Prompt));
        message.Generated.AddRange(work.Generated);
        message.Stop.AddRange(request.Stop);
        if (request.TopLogProbabilities is int top) message.TopLogProbabilities = top;
        if (request.FormBeginsAfter is int after) message.FormBeginsAfter = after;
        return message;
    }

    /// <summary>A message as a request. The engine checks the values; here only what it would trust.</summary>
    /// <exception cref="ArgumentException">More tokens were generated than asked for, or the form does not exist.</exception>
    public static WorkerRequest Of(Wire.Work message)
    {
        if (message.Generated.Count > message.MaxNewTokens)
            throw new ArgumentException($"{message.Generated.Count} tokens were generated already; expected at most the {message.MaxNewTokens} that were asked for.", nameof(message));
        if (!Enum.IsDefined((OutputForm)message.Form)) throw new ArgumentException($"The form {message.Form} does not exist. Run the same release on all workers.", nameof(message));
        return new WorkerRequest(new GenerationRequest
        {
            Prompt = message.Prompt.ToArray(),
            MaxNewTokens = message.MaxNewTokens,
            Sampling = new SamplingParameters(message.Temperature, message.TopP, message.Seed),
            FrequencyPenalty = message.FrequencyPenalty,
            PresencePenalty = message.PresencePenalty,
            Stop = [.. message.Stop],
            TopLogProbabilities = message.HasTopLogProbabilities ? message.TopLogProbabilities : null,
            Form = (OutputForm)message.Form,
            FormBeginsAfter = message.HasFormBeginsAfter ? message.FormBeginsAfter : null,
            IgnoreEndTokens = message.IgnoreEndTokens,
            Owner = message.Owner,
        }, [.. message.Generated]);
    }

    /// <summary>An event as a message.</summary>
    public static Wire.Event Of(GenerationEvent happened)
    {
        switch (happened)
        {
            case RequestQueued queued:
                return new Wire.Event { Queued = new Wire.Queued { PlaceInLine = queued.PlaceInLine, ExpectedWaitSeconds = queued.ExpectedWait.TotalSeconds } };
            case RequestStarted started:
                return new Wire.Event { Started = new Wire.Started { CachedTokens = started.CachedTokens } };
            case TokensGenerated generated:
                var message = new Wire.Generated { Text = ByteString.CopyFrom(MemoryMarshal.AsBytes(generated.Text.AsSpan())) };
                message.Tokens.AddRange(generated.Tokens);
                foreach (TokenLogProbability at in generated.LogProbabilities)
                {
                    var log = new Wire.LogProbability { Token = at.Token, LogProbability_ = at.LogProbability };
                    log.TopTokens.AddRange(at.Top.Select(top => top.Token));
                    log.TopLogProbabilities.AddRange(at.Top.Select(top => top.LogProbability));
                    message.LogProbabilities.Add(log);
                }

                return new Wire.Event { Generated = message };
            case RequestFinished finished:
                TokenUsage usage = finished.Usage;
                return new Wire.Event
                {
                    Finished = new Wire.Finished
                    {
                        Reason = (int)finished.Reason, PromptTokens = usage.PromptTokens, CachedTokens = usage.CachedTokens, GeneratedTokens = usage.GeneratedTokens,
                        DraftedTokens = usage.DraftedTokens, AcceptedTokens = usage.AcceptedTokens,
                    },
                };
            default:
                throw new ArgumentException($"Events of {happened.GetType().Name} have no message.", nameof(happened));
        }
    }

    /// <summary>A message as an event; null when it is of a later release.</summary>
    public static GenerationEvent? Of(Wire.Event message)
    {
        switch (message.KindCase)
        {
            case Wire.Event.KindOneofCase.Queued:
                return new RequestQueued(message.Queued.PlaceInLine, TimeSpan.FromSeconds(message.Queued.ExpectedWaitSeconds));
            case Wire.Event.KindOneofCase.Started:
                return new RequestStarted(message.Started.CachedTokens);
            case Wire.Event.KindOneofCase.Generated:
                Wire.Generated generated = message.Generated;
                return new TokensGenerated(new string(MemoryMarshal.Cast<byte, char>(generated.Text.Span)), [.. generated.Tokens], [.. generated.LogProbabilities.Select(at =>
                    new TokenLogProbability(at.Token, at.LogProbability_, [.. at.TopTokens.Zip(at.TopLogProbabilities)]))]);
            case Wire.Event.KindOneofCase.Finished:
                Wire.Finished finished = message.Finished;
                return new RequestFinished((FinishReason)finished.Reason,
                    new TokenUsage(finished.PromptTokens, finished.CachedTokens, finished.GeneratedTokens, finished.DraftedTokens, finished.AcceptedTokens));
            default:
                return null;
        }
    }

    /// <summary>Statistics as a message.</summary>
    public static Wire.Statistics Of(EngineStatistics statistics)
    {
        var message = new Wire.Statistics
        {
            Queued = statistics.Queued, Running = statistics.Running, Pages = statistics.Pages, PagesInUse = statistics.PagesInUse, PagesCached = statistics.PagesCached,
            Finished = statistics.Finished, Cancelled = statistics.Cancelled, Preempted = statistics.Preempted, PromptTokens = statistics.PromptTokens, CachedTokens = statistics.CachedTokens,
            GeneratedTokens = statistics.GeneratedTokens, DraftedTokens = statistics.DraftedTokens, AcceptedTokens = statistics.AcceptedTokens,
            DecodeStepSeconds = statistics.DecodeStepSeconds, PromptTokensPerSecond = statistics.PromptTokensPerSecond,
            DraftedSteps = statistics.DraftedSteps, PlainSteps = statistics.PlainSteps, SpeculationGain = statistics.SpeculationGain, PagesOnDisk = statistics.PagesOnDisk,
        };
        for (int layer = 0; layer < statistics.ExpertLoad.Count; layer++)
        {
            var load = new Wire.Load();
            load.Tokens.AddRange(statistics.ExpertLoad[layer]);
            if (layer < statistics.RecentExpertLoad.Count) load.Recent.AddRange(statistics.RecentExpertLoad[layer]);
            message.ExpertLoad.Add(load);
        }

        return message;
    }

    /// <summary>A message as statistics.</summary>
    public static EngineStatistics Of(Wire.Statistics? message) => message is null ? new EngineStatistics() : new EngineStatistics
    {
        Queued = message.Queued, Running = message.Running, Pages = message.Pages, PagesInUse = message.PagesInUse, PagesCached = message.PagesCached,
        Finished = message.Finished, Cancelled = message.Cancelled, Preempted = message.Preempted, PromptTokens = message.PromptTokens, CachedTokens = message.CachedTokens,
        GeneratedTokens = message.GeneratedTokens, DraftedTokens = message.DraftedTokens, AcceptedTokens = message.AcceptedTokens,
        DecodeStepSeconds = message.DecodeStepSeconds, PromptTokensPerSecond = message.PromptTokensPerSecond,
        DraftedSteps = message.DraftedSteps, PlainSteps = message.PlainSteps, SpeculationGain = message.SpeculationGain, PagesOnDisk = message.PagesOnDisk,
        ExpertLoad = [.. message.ExpertLoad.Select(load => (IReadOnlyList<long>)[.. load.Tokens])],
        RecentExpertLoad = [.. message.ExpertLoad.Select(load => (IReadOnlyList<double>)[.. load.Recent])],
    };
}
