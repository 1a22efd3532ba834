using System.Collections.Concurrent;
using System.Diagnostics;
using Hadal.Inference;
using Hadal.Inference.Serving;
using Hadal.Server.Database;
using Hadal.Server.Web;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Hadal.Server.Conversations;

/// <summary>
/// Writes answers. A generation belongs to the server and not to the connection that asked for it: pages may reload or lose their network, and find the answer
/// where it is.
/// </summary>
sealed partial class AnswerService(ChatEngines engines, IServiceScopeFactory scopes, TimeProvider clock, ILogger<AnswerService> log) : IHostedService
{
    const double Temperature = 0.6;
    const double TopP = 0.95;
    const int SaveRetries = 5;
    static readonly TimeSpan SavePause = TimeSpan.FromSeconds(2);
    static readonly TimeSpan KeepTime = TimeSpan.FromSeconds(60);
    readonly ConcurrentDictionary<Guid, RunningAnswer> _answers = new();
    readonly ConcurrentDictionary<Guid, int> _readers = new();
    readonly Lock _gate = new();
    bool _stopping;

    /// <summary>Answers being written.</summary>
    public int Running => _answers.Values.Count(answer => !answer.Completion.Task.IsCompleted);

    /// <summary>The answer of a message, while it is written and a little while after.</summary>
    public RunningAnswer? Find(Guid messageId) => _answers.GetValueOrDefault(messageId);

    /// <summary>Takes a place for an answer before anything is written into the database.</summary>
    /// <exception cref="AppException">One is being written in this conversation, or several of this person.</exception>
    public RunningAnswer Reserve(Guid personId, Guid conversationId, Guid messageId)
    {
        lock (_gate)
        {
            if (_stopping) throw new AppException(StatusCode.ServiceUnavailable, "The server is about to stop. Try again in a minute.", retryAfter: TimeSpan.FromMinutes(1));
            RunningAnswer[] open = [.. _answers.Values.Where(answer => answer.PersonId == personId && !answer.Completion.Task.IsCompleted)];
            if (open.Any(answer => answer.ConversationId == conversationId)) throw new AppException(StatusCode.Conflict, "An answer is still being written here. Wait for it, or stop it.");
            if (open.Length >= ConversationLimits.AnswersAtOnce) throw AppException.TooMany("Three of your answers are being written already; wait for one, or stop it.", TimeSpan.FromSeconds(10));
            var answer = new RunningAnswer(personId, conversationId, messageId);
            _answers[messageId] = answer;
            return answer;
        }
    }

    /// <summary>Counts one of a person's open streams, until it is disposed.</summary>
    /// <exception cref="AppException">Status 429: too many are open.</exception>
    public IDisposable EnterReading(Guid personId)
    {
        if (_readers.AddOrUpdate(personId, 1, (_, open) => open + 1) <= ConversationLimits.StreamsAtOnce) return new Reading(_readers, personId);
        Leave(_readers, personId);
        throw AppException.TooMany($"{ConversationLimits.StreamsAtOnce} of your windows are being written to already; close one.", TimeSpan.FromSeconds(10));
    }

    /// <summary>Gives a reserved place back.</summary>
    public void Release(RunningAnswer answer)
    {
        _answers.TryRemove(answer.MessageId, out _);
        answer.Completion.TrySetResult();
        answer.Dispose();
    }

    /// <summary>Begins to write.</summary>
    public void Begin(RunningAnswer answer, Message message, ChatPrompt prompt) =>
        _ = Task.Run(() => WriteAsync(answer, message, prompt), CancellationToken.None);

    /// <summary>Stops every answer of a conversation or a person.</summary>
    public void StopAll(Func<RunningAnswer, bool> which)
    {
        foreach (RunningAnswer answer in _answers.Values.Where(which)) answer.Stop();
    }

    /// <summary>Answers that a server before this one left unfinished are marked.</summary>
    public async Task StartAsync(CancellationToken cancellationToken)
    {
        using IServiceScope scope = scopes.CreateScope();
        var database = scope.ServiceProvider.GetRequiredService<HadalDatabase>();
        await database.Messages.Where(message => message.State == MessageState.Running)
            .ExecuteUpdateAsync(set => set.SetProperty(message => message.State, MessageState.Interrupted), cancellationToken);
    }

    /// <summary>Lets answers finish as long as the host allows, then keeps what there is of them.</summary>
    public async Task StopAsync(CancellationToken cancellationToken)
    {
        lock (_gate) _stopping = true;
        RunningAnswer[] open = [.. _answers.Values];
        Task all = Task.WhenAll(open.Select(answer => answer.Completion.Task));
        try
        {
            await all.WaitAsync(cancellationToken);
        }
        catch (OperationCanceledException)
        {
            foreach (RunningAnswer answer in open) answer.Stop(serverIsStopping: true);
            await all.WaitAsync(TimeSpan.FromSeconds(5), CancellationToken.None).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    async Task WriteAsync(RunningAnswer answer, Message message, ChatPrompt prompt)
    {
        using var saving = new CancellationTokenSource();
        Task saver = SaveNowAndThenAsync(answer, saving.Token);
        try
        {
            await GenerateAsync(answer, message, prompt);
        }
        catch (OperationCanceledException) when (answer.Stopped.IsCancellationRequested)
        {
            message.State = answer.IsServerStopping ? MessageState.Interrupted : MessageState.Stopped;
        }
        catch (EngineStoppingException)
        {
            message.State = MessageState.Interrupted;
        }
        catch (EngineBusyException busy)
        {
            message.State = MessageState.Failed;
            message.Note = $"The server is full: {busy.PlaceInLine - 1} requests wait already. A place should be free in about {Math.Max(1, Math.Ceiling(busy.ExpectedWait.TotalSeconds)):0} s.";
        }
        catch (Exception exception)
        {
            message.State = MessageState.Failed;
            message.Note = "The model could not answer. The reason is in the server's log.";
            Failed(log, exception, message.Id);
        }

        await saving.CancelAsync();
        await saver.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await FinishAsync(answer, message);
    }

    async Task GenerateAsync(RunningAnswer answer, Message message, ChatPrompt prompt)
    {
        IInferenceEngine engine = engines.For(message.DeepThink);
        var splitter = new AnswerSplitter(engine.Model.Tokenizer, message.DeepThink);
        var request = new GenerationRequest
        {
            Prompt = prompt.Tokens,
            MaxNewTokens = prompt.MaxNewTokens,
            Sampling = new SamplingParameters(Temperature, TopP, unchecked((ulong)message.Seed)),
            Owner = $"person:{answer.PersonId:n}",
        };
        long began = Stopwatch.GetTimestamp();
        bool thinking = message.DeepThink;
        await foreach (GenerationEvent happened in engine.GenerateAsync(request, answer.Stopped).WithCancellation(answer.Stopped))
        {
            switch (happened)
            {
                case RequestQueued queued:
                    answer.Add(new AnswerEvent(AnswerEventKind.Queued, Place: queued.PlaceInLine, Seconds: Math.Ceiling(queued.ExpectedWait.TotalSeconds)));
                    break;
                case RequestStarted started:
                    began = Stopwatch.GetTimestamp();
                    message.CachedTokens = started.CachedTokens;
                    answer.Add(new AnswerEvent(AnswerEventKind.Started));
                    break;
                case TokensGenerated generated:
                    message.GeneratedTokens += generated.Tokens.Count;
                    Say(splitter.Append(generated.Tokens));
                    break;
                case RequestFinished finished:
                    Say(splitter.Finish());
                    message.PromptTokens = finished.Usage.PromptTokens;
                    message.CachedTokens = finished.Usage.CachedTokens;
                    message.GeneratedTokens = finished.Usage.GeneratedTokens;
                    message.State = finished.Reason switch
                    {
                        FinishReason.Stop => MessageState.Complete,
                        FinishReason.Length => MessageState.Length,
                        _ => MessageState.Failed,
                    };
                    if (message.State == MessageState.Failed) message.Note = "The server ran out of resources while writing. Try again in a moment.";
                    return;
            }
        }

        message.State = MessageState.Failed;
        message.Note = "The answer ended without an end. Try again.";

        void Say((string Thought, string Answer) said)
        {
            if (said.Thought.Length > 0) answer.Add(new AnswerEvent(AnswerEventKind.Thought, said.Thought));
            if (thinking && !splitter.IsInThought)
            {
                thinking = false;
                answer.Add(new AnswerEvent(AnswerEventKind.ThoughtEnd, Milliseconds: (long)Stopwatch.GetElapsedTime(began).TotalMilliseconds));
            }

            if (said.Answer.Length > 0) answer.Add(new AnswerEvent(AnswerEventKind.Text, said.Answer));
        }
    }

    // A server that dies loses at most what was written since the last time.
    async Task SaveNowAndThenAsync(RunningAnswer answer, CancellationToken cancellationToken)
    {
        int saved = 0;
        while (true)
        {
            await Task.Delay(SavePause, clock, cancellationToken);
            (string? thought, string text) = answer.Content();
            int length = (thought?.Length ?? 0) + text.Length;
            if (length == saved) continue;
            try
            {
                await KeepAsync(database => database.Messages.Where(row => row.Id == answer.MessageId)
                    .ExecuteUpdateAsync(set => set.SetProperty(row => row.Text, text).SetProperty(row => row.Reasoning, thought), cancellationToken));
                saved = length;
            }
            catch (Exception exception) when (exception is not OperationCanceledException)
            {
                SavingDelayed(log, exception, answer.MessageId, SavePause.TotalSeconds);
            }
        }
    }

    async Task FinishAsync(RunningAnswer answer, Message message)
    {
        (message.Reasoning, message.Text) = answer.Content();
        message.ReasoningMilliseconds = answer.ThoughtMilliseconds ?? (message.Reasoning is null ? null : (long)Stopwatch.GetElapsedTime(answer.Started).TotalMilliseconds);
        message.Finished = clock.GetUtcNow();
        for (int round = 0; ; round++)
        {
            try
            {
                // One statement: the row may go with its conversation at any moment, and then there is nothing to keep.
                await KeepAsync(database => database.Messages.Where(row => row.Id == message.Id).ExecuteUpdateAsync(set => set
                    .SetProperty(row => row.Text, message.Text).SetProperty(row => row.Reasoning, message.Reasoning).SetProperty(row => row.ReasoningMilliseconds, message.ReasoningMilliseconds)
                    .SetProperty(row => row.State, message.State).SetProperty(row => row.Note, message.Note).SetProperty(row => row.Finished, message.Finished)
                    .SetProperty(row => row.PromptTokens, message.PromptTokens).SetProperty(row => row.CachedTokens, message.CachedTokens).SetProperty(row => row.GeneratedTokens, message.GeneratedTokens)));
                break;
            }
            catch (Exception exception)
            {
                if (round == SaveRetries)
                {
                    SavingFailed(log, exception, message.Id);
                    break;
                }

                TimeSpan pause = TimeSpan.FromSeconds(1 << round);
                SavingDelayed(log, exception, message.Id, pause.TotalSeconds);
                await Task.Delay(pause, clock);
            }
        }

        answer.Add(new AnswerEvent(AnswerEventKind.Done, Message: MessageView.Of(message)));
        answer.Completion.TrySetResult();
        _ = ForgetLaterAsync(answer);
    }

    async Task ForgetLaterAsync(RunningAnswer answer)
    {
        await Task.Delay(KeepTime, clock);
        _answers.TryRemove(answer.MessageId, out _);
        answer.Dispose();
    }

    static void Leave(ConcurrentDictionary<Guid, int> readers, Guid personId)
    {
        if (readers.AddOrUpdate(personId, 0, (_, open) => open - 1) == 0) readers.TryRemove(new KeyValuePair<Guid, int>(personId, 0));
    }

    sealed class Reading(ConcurrentDictionary<Guid, int> readers, Guid personId) : IDisposable
    {
        public void Dispose() => Leave(readers, personId);
    }

    async Task KeepAsync(Func<HadalDatabase, Task<int>> work)
    {
        using IServiceScope scope = scopes.CreateScope();
        await work(scope.ServiceProvider.GetRequiredService<HadalDatabase>());
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "The answer {Message} failed")]
    static partial void Failed(ILogger logger, Exception exception, Guid message);

    [LoggerMessage(Level = LogLevel.Error, Message = "The answer {Message} could not be saved")]
    static partial void SavingFailed(ILogger logger, Exception exception, Guid message);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The answer {Message} could not be saved; the next try is in {Seconds} s")]
    static partial void SavingDelayed(ILogger logger, Exception exception, Guid message, double seconds);
}
