namespace Hadal.Text;

/// <summary>A binary heap of unsigned numbers in given memory, the lowest first.</summary>
ref struct MinimumHeap(Span<ulong> memory)
{
    readonly Span<ulong> _items = memory;
    int _count;

    /// <summary>Adds a number.</summary>
    public void Push(ulong item)
    {
        int place = _count++;
        while (place > 0)
        {
            int parent = (place - 1) >> 1;
            if (_items[parent] <= item) break;
            _items[place] = _items[parent];
            place = parent;
        }
        _items[place] = item;
    }

    /// <summary>Takes the lowest number; false when none is left.</summary>
    public bool TryPop(out ulong lowest)
    {
        if (_count == 0)
        {
            lowest = 0;
            return false;
        }
        lowest = _items[0];
        ulong item = _items[--_count];
        int place = 0;
        while (true)
        {
            int child = 2 * place + 1;
            if (child >= _count) break;
            if (child + 1 < _count && _items[child + 1] < _items[child]) child++;
            if (item <= _items[child]) break;
            _items[place] = _items[child];
            place = child;
        }
        _items[place] = item;
        return true;
    }
}
