using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Text;
using Hadal.Server.Database;

namespace Hadal.Server.Conversations;

/// <summary>One thing that happened to an answer, as the page gets it.</summary>
/// <param name="Kind">What.</param>
/// <param name="Text">New text of a thought or an answer.</param>
/// <param name="Place">queued: 1 for the next.</param>
/// <param name="Seconds">queued: expected wait.</param>
/// <param name="Milliseconds">thoughtEnd: how long it took.</param>
/// <param name="Message">done: the message as it is kept.</param>
sealed record AnswerEvent(AnswerEventKind Kind, string? Text = null, int? Place = null, double? Seconds = null, long? Milliseconds = null, MessageView? Message = null);

/// <summary>What can happen to an answer, in this order; pieces of text come many times.</summary>
enum AnswerEventKind
{
    /// <summary>It waits.</summary>
    Queued,
    /// <summary>The model reads.</summary>
    Started,
    /// <summary>New text of the chain of thought.</summary>
    Thought,
    /// <summary>The chain of thought has ended.</summary>
    ThoughtEnd,
    /// <summary>New text of the answer.</summary>
    Text,
    /// <summary>It has ended and is kept.</summary>
    Done,
}

/// <summary>
/// An answer while it is written, and for a little while after. It belongs to the server: pages come, read from any event on, and go. One writer, any number of
/// readers.
/// </summary>
sealed class RunningAnswer(Guid personId, Guid conversationId, Guid messageId) : IDisposable
{
    readonly Lock _gate = new();
    readonly List<AnswerEvent> _events = [];
    readonly StringBuilder _thought = new();
    readonly StringBuilder _text = new();
    readonly CancellationTokenSource _stop = new();
    TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public Guid PersonId => personId;

    public Guid ConversationId => conversationId;

    public Guid MessageId => messageId;

    public CancellationToken Stopped => _stop.Token;

    public long Started { get; } = Stopwatch.GetTimestamp();

    /// <summary>Whether the server, not the person, ended it.</summary>
    public bool IsServerStopping { get; private set; }

    public long? ThoughtMilliseconds { get; private set; }

    /// <summary>Completes when the answer has been written and kept.</summary>
    public TaskCompletionSource Completion { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public void Stop(bool serverIsStopping = false)
    {
        IsServerStopping |= serverIsStopping;
        try
        {
            _stop.Cancel();
        }
        catch (ObjectDisposedException)
        {
            // it ended at the same moment
        }
    }

    /// <summary>What has been written so far, as it can be kept: a model may write anything, and a piece may end within a surrogate pair.</summary>
    public (string? Thought, string Text) Content()
    {
        string thought, text;
        lock (_gate) (thought, text) = (_thought.ToString(), _text.ToString());
        thought = StoredText.Clean(thought);
        return (thought.Length > 0 ? thought : null, StoredText.Clean(text));
    }

    public void Add(AnswerEvent happened)
    {
        TaskCompletionSource before;
        lock (_gate)
        {
            if (happened.Kind == AnswerEventKind.Thought) _thought.Append(happened.Text);
            if (happened.Kind == AnswerEventKind.Text) _text.Append(happened.Text);
            if (happened.Kind == AnswerEventKind.ThoughtEnd) ThoughtMilliseconds = happened.Milliseconds;
            _events.Add(happened);
            before = _changed;
            _changed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        before.SetResult();
    }

    /// <summary>Every event from a number on, then those to come, up to the last. Neighbouring pieces of text come as one.</summary>
    /// <param name="from">Number of the first event that the reader does not have.</param>
    /// <returns>Events with the number of the next one.</returns>
    public async IAsyncEnumerable<(int Next, AnswerEvent Happened)> ReadAsync(int from, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        int next = Math.Max(0, from);
        while (true)
        {
            List<AnswerEvent> fresh;
            Task changed;
            lock (_gate)
            {
                next = Math.Min(next, _events.Count);
                fresh = _events.GetRange(next, _events.Count - next);
                changed = _changed.Task;
            }

            for (int i = 0; i < fresh.Count; i++)
            {
                AnswerEvent happened = fresh[i];
                if (happened.Kind is AnswerEventKind.Thought or AnswerEventKind.Text && i + 1 < fresh.Count && fresh[i + 1].Kind == happened.Kind)
                {
                    var text = new StringBuilder(happened.Text);
                    while (i + 1 < fresh.Count && fresh[i + 1].Kind == happened.Kind) text.Append(fresh[++i].Text);
                    happened = happened with { Text = text.ToString() };
                }

                yield return (next + i + 1, happened);
                if (happened.Kind == AnswerEventKind.Done) yield break;
            }

            next += fresh.Count;
            await changed.WaitAsync(cancellationToken);
        }
    }

    public void Dispose() => _stop.Dispose();
}
