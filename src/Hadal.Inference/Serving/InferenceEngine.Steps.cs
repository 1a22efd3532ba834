using Hadal.Numerics;

namespace Hadal.Inference.Serving;

/// <summary>What a step computes, and which tokens come of it.</summary>
public sealed partial class InferenceEngine
{
    // Draws of residual resampling are other draws than the sampler's at the same position.
    const uint DraftStream = 1, AcceptanceStream = 2, ResamplingStream = 3;

    /// <summary>
    /// Chooses this step's tokens: first one (or two, with a draft) of every text being written, then chunks of prompts, oldest request first. Requests whose pages cannot be had
    /// put younger ones aside, or are put aside themselves.
    /// </summary>
    (int Tokens, int LogitRows) Plan()
    {
        // Pages first, oldest request first: what comes later in the order may be put aside.
        _stepCount = 0;
        int budget = Math.Max(Options.StepTokens, Options.MaxRunning); // every text gets its token
        for (int i = 0; i < _running.Count; i++)
        {
            Sequence sequence = _running[i];
            int missing = sequence.Target - sequence.Computed;
            sequence.StepTokens = missing == 1 && sequence.Export is null && budget > 0 && Reserve(sequence, 1, mayPutAside: true) ? 1 : 0;
            sequence.StepDrafted = false;
            if (sequence.StepTokens > 0) budget--;
        }

        for (int i = 0; i < _running.Count && budget > 0; i++)
        {
            Sequence sequence = _running[i];
            if (sequence.StepTokens != 1 || sequence.Draft < 0 || sequence.State.Generated + 1 >= sequence.State.Limit || !Reserve(sequence, 2, mayPutAside: false)) continue;
            sequence.StepTokens = 2;
            sequence.StepDrafted = true;
            budget--;
        }

        for (int i = 0; i < _running.Count && budget > 0; i++)
        {
            Sequence sequence = _running[i];
            if (sequence.StepTokens > 0) continue;
            int count = Math.Min(sequence.Target - sequence.Computed, budget);
            if (count <= 0 || !Reserve(sequence, count, mayPutAside: true)) continue;
            sequence.StepTokens = count;
            budget -= count;
        }

        int tokens = 0, logitRows = 0;
        for (int i = 0; i < _running.Count; i++)
        {
            Sequence sequence = _running[i];
            if (sequence.StepTokens == 0) continue;
            _step[_stepCount++] = sequence;
            tokens += sequence.StepTokens;
            bool complete = sequence.Export is null && sequence.Computed + sequence.StepTokens >= sequence.State.Length;
            sequence.LogitRow = complete ? logitRows : -1;
            if (complete) logitRows += sequence.StepDrafted ? 2 : 1;
            Queue.Charge(sequence.State, complete ? 2 * sequence.StepTokens : sequence.StepTokens);
        }

        return (tokens, logitRows);
    }

    /// <summary>Takes the tokens that the logits of a sequence give.</summary>
    void Choose(Sequence sequence)
    {
        RequestState state = sequence.State;
        sequence.StepKept = sequence.StepTokens;
        if (sequence.LogitRow < 0)
        {
            sequence.Computed += sequence.StepKept;
            return;
        }

        try
        {
            if (!sequence.StepDrafted)
            {
                state.Step(_runner.Logits(sequence.LogitRow));
                _generatedTokens++;
            }
            else
            {
                ReadOnlySpan<float> logits = _runner.Logits(sequence.LogitRow);
                TokenPicker.RequireNumbers(logits, state.Length);
                bool right = Verify(sequence, logits);
                state.Drafted++;
                _drafted++;
                _generatedTokens++;
                _choice.Verified(right);
                if (right)
                {
                    state.Accepted++;
                    _accepted++;
                }

                if (right && state.Reason is null)
                {
                    state.Step(_runner.Logits(sequence.LogitRow + 1));
                    _generatedTokens++;
                }
                else
                {
                    sequence.StepKept--;
                }
            }
        }
        catch (InvalidDataException error)
        {
            sequence.Failure = error;
        }

        sequence.Computed += sequence.StepKept;
    }

    /// <summary>Takes the token at the draft's place; whether it is the draft.</summary>
    bool Verify(Sequence sequence, ReadOnlySpan<float> logits)
    {
        RequestState state = sequence.State;
        if (sequence.DraftDistribution is not { } draft || state.Request.Sampling.Temperature == 0)
        {
            int chosen = Picker.Choose(state, logits);
            state.Take(chosen, logits);
            return chosen == sequence.Draft;
        }

        Picker.Distribution(state, logits, _target);
        ulong position = (ulong)state.Length, seed = state.Request.Sampling.Seed;
        (int token, bool accepted) = SpeculationAcceptance.Residual(_target, draft, sequence.Draft,
            new CounterRandom(seed, RandomPurpose.Sampling, AcceptanceStream).Uniform(position), new CounterRandom(seed, RandomPurpose.Sampling, ResamplingStream).Uniform(position));
        state.Take(token, logits);
        return accepted;
    }

    /// <summary>Brings the MTP module's rows up to date and, where that is expected to pay, drafts the next token of every text that goes on.</summary>
    void Draft()
    {
        int texts = 0, rows = 0;
        double acceptance = 0;
        for (int s = 0; s < _stepCount; s++)
        {
            Sequence sequence = _step[s];
            RequestState state = sequence.State;
            if (sequence.Failure is not null || state.Reason is not null)
            {
                // The text is over; only positions whose next token is known get their row.
                sequence.StepKept = Math.Min(sequence.StepKept, state.Length - 1 - (sequence.Computed - sequence.StepKept));
                if (sequence.Failure is not null)
                {
                    sequence.StepKept = 0;
                    _runner.DropDeferred(sequence);
                }
            }

            bool goesOn = sequence.LogitRow >= 0 && sequence.Failure is null && state.Reason is null && state.Generated + 1 < state.Limit;
            sequence.Draft = -1;
            sequence.DraftRow = goesOn ? rows++ : -1;
            if (!goesOn) continue;
            texts++;
            acceptance += _choice.Expected(state.Drafted, state.Accepted);
        }

        bool drafts = texts > 0 && _choice.ShouldDraft(texts, acceptance / texts);
        if (!drafts)
        {
            for (int s = 0; s < _stepCount; s++) _step[s].DraftRow = -1;
        }

        _runner.ForwardDraft(_step, _stepCount, drafts ? rows : 0, mayDefer: !drafts);
        if (!drafts) return;
        for (int s = 0; s < _stepCount; s++)
        {
            Sequence sequence = _step[s];
            if (sequence.DraftRow < 0) continue;
            RequestState state = sequence.State;
            ReadOnlySpan<float> logits = _runner.DraftLogits(sequence.DraftRow);
            if (!Options.Fast || state.Request.Sampling.Temperature == 0)
            {
                // The same draw as the sampler will make: where the module agrees with the model, so do their tokens.
                sequence.Draft = Picker.Choose(state, logits);
                continue;
            }

            double[] distribution = sequence.DraftDistribution ??= new double[Picker.Vocabulary];
            Picker.Distribution(state, logits, distribution);
            double aim = new CounterRandom(state.Request.Sampling.Seed, RandomPurpose.Sampling, DraftStream).Uniform((ulong)state.Length), sum = 0;
            for (int v = 0; v < distribution.Length; v++)
            {
                if (distribution[v] <= 0) continue;
                sequence.Draft = v;
                sum += distribution[v];
                if (aim < sum) break;
            }
        }
    }
}
