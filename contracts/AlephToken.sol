// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title ALEPH for development networks: an ERC-20 with the surface that clients of the main network's token use.
/// @dev Placed by genesis allocation, so it has no constructor: the owner is fixed, name and symbol are constants.
contract AlephToken {
    string public constant name = "aleph.im v2";
    string public constant symbol = "ALEPH";
    uint8 public constant decimals = 18;
    /// @notice May mint: the tenth of the well-known development accounts.
    address public constant owner = 0xa0Ee7A142d267C1f36714E4a8F75612F20a79720;

    uint256 public totalSupply;
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;

    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);

    error InsufficientBalance(address account, uint256 balance, uint256 needed);
    error InsufficientAllowance(address spender, uint256 allowance, uint256 needed);
    error NotOwner(address caller);
    error InvalidReceiver(address receiver);
    error LengthMismatch(uint256 receivers, uint256 values);

    function transfer(address to, uint256 value) external returns (bool) {
        move(msg.sender, to, value);
        return true;
    }

    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        spend(from, value);
        move(from, to, value);
        return true;
    }

    function approve(address spender, uint256 value) external returns (bool) {
        allowance[msg.sender][spender] = value;
        emit Approval(msg.sender, spender, value);
        return true;
    }

    function batchTransfer(address[] calldata to, uint256[] calldata values) external returns (bool) {
        if (to.length != values.length) revert LengthMismatch(to.length, values.length);
        for (uint256 i = 0; i < to.length; i++) move(msg.sender, to[i], values[i]);
        return true;
    }

    function batchTransferFrom(address from, address[] calldata to, uint256[] calldata values) external returns (bool) {
        if (to.length != values.length) revert LengthMismatch(to.length, values.length);
        uint256 sum = 0;
        for (uint256 i = 0; i < to.length; i++) sum += values[i];
        spend(from, sum);
        for (uint256 i = 0; i < to.length; i++) move(from, to[i], values[i]);
        return true;
    }

    function mint(address to, uint256 value) external {
        if (msg.sender != owner) revert NotOwner(msg.sender);
        if (to == address(0)) revert InvalidReceiver(to);
        totalSupply += value;
        unchecked { balanceOf[to] += value; }
        emit Transfer(address(0), to, value);
    }

    function spend(address from, uint256 value) private {
        uint256 allowed = allowance[from][msg.sender];
        if (allowed == type(uint256).max) return;
        if (allowed < value) revert InsufficientAllowance(msg.sender, allowed, value);
        unchecked { allowance[from][msg.sender] = allowed - value; }
    }

    function move(address from, address to, uint256 value) private {
        if (to == address(0)) revert InvalidReceiver(to);
        uint256 balance = balanceOf[from];
        if (balance < value) revert InsufficientBalance(from, balance, value);
        unchecked {
            balanceOf[from] = balance - value;
            balanceOf[to] += value; // cannot exceed the total supply
        }
        emit Transfer(from, to, value);
    }
}
