using System.Collections;
using System.Runtime.CompilerServices;

namespace Hadal.Kernels.Ir;

/// <summary>An immutable list compared by its elements, so that records that hold one are compared as plain data.</summary>
[CollectionBuilder(typeof(Sequence), nameof(Sequence.Create))]
public sealed class Sequence<T> : IReadOnlyList<T>, IEquatable<Sequence<T>>
{
    readonly T[] _items;

    internal Sequence(T[] items) => _items = items;

    /// <summary>Number of elements.</summary>
    public int Count => _items.Length;

    /// <summary>The element at a position.</summary>
    public T this[int index] => _items[index];

    /// <summary>The elements as a span.</summary>
    public ReadOnlySpan<T> AsSpan() => _items;

    /// <summary>True when both hold equal elements in the same order.</summary>
    public bool Equals(Sequence<T>? other) => other is not null && _items.AsSpan().SequenceEqual(other._items);

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as Sequence<T>);

    /// <inheritdoc/>
    public override int GetHashCode()
    {
        HashCode hash = default;
        foreach (T item in _items) hash.Add(item);
        return hash.ToHashCode();
    }

    /// <inheritdoc/>
    public IEnumerator<T> GetEnumerator() => ((IEnumerable<T>)_items).GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => _items.GetEnumerator();

    /// <summary>The elements, separated by commas.</summary>
    public override string ToString() => string.Join(", ", _items);
}

/// <summary>Builds <see cref="Sequence{T}"/> from collection expressions.</summary>
public static class Sequence
{
    /// <summary>A sequence with a copy of the given elements.</summary>
    public static Sequence<T> Create<T>(ReadOnlySpan<T> items) => new(items.ToArray());
}
